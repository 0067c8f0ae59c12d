//! The SerialFleet that is shown, as the bridge will read it from the same file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serialfleet_api::{
    fleet::SerialFleet,
    manifest::read_fleet,
    resolve::{ResolvedDevice, resolve},
};

/// A fleet and the file it came from.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) path: PathBuf,
    pub(super) object: SerialFleet,
    pub(super) devices: Vec<ResolvedDevice>,
}

impl Fleet {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let object = match read_fleet(&text) {
            Ok(object) => object,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                bail!("{} is refused: {}", path.display(), problems.join("; "));
            }
        };
        let devices = resolve(&object.spec)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|(name, error)| anyhow::anyhow!("{}: {name}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), object, devices })
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.devices.iter().map(|device| device.port).collect()
    }
}
