//! `serialfleet-demo`: command line and exit code. What it does is [`serialfleet_tests::demo`]'s business.

use std::process::ExitCode;

use clap::Parser;
use serialfleet_tests::demo::{self, Args};

fn main() -> ExitCode {
    match Args::try_parse() {
        Ok(args) => demo::main(args),
        Err(error) => {
            // Help is no error; a closed standard output is nobody's business.
            drop(error.print());
            if error.use_stderr() { ExitCode::from(demo::USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
