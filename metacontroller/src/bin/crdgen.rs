//! Prints the CustomResourceDefinitions as they are committed in `metacontroller/manifests/crds.yaml`.

use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    std::io::stdout().write_all(serialfleet_api::crd::yaml()?.as_bytes())?;
    Ok(())
}
