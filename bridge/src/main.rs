//! `serialfleet-bridge`: command line, exit codes. Everything else is in the library.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use serialfleet_bridge::{
    args::{Cli, Command, ImportArgs},
    discover::discover,
    import::command::import,
    ports_command::ports,
    run::{Failure, run},
};

/// Wrong use or configuration (EX_USAGE of sysexits.h).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; a closed standard output is nobody's business.
            drop(error.print());
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(args) => run(*args),
        Command::Discover(args) => discover(&args.sysfs_root, args.output)
            .map_err(anyhow::Error::from)
            .and_then(print)
            .map_err(Failure::from),
        Command::Import(args) => import_files(&args),
        Command::Ports(args) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(ports(args.address(), args.json)))
            .and_then(print)
            .map_err(Failure::from),
    };
    let (text, code) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => (text, ExitCode::from(USAGE)),
        Err(Failure::Runtime(error)) => (format!("{error:#}"), ExitCode::FAILURE),
    };
    drop(writeln!(io::stderr(), "serialfleet-bridge: {text}"));
    code
}

/// The fleet to standard output, what to know about it to standard error.
fn import_files(args: &ImportArgs) -> Result<(), Failure> {
    let imported = import(args)?;
    print(imported.yaml)?;
    for remark in &imported.remarks {
        drop(writeln!(io::stderr(), "{remark}"));
    }
    let counts = format!("{} imported, {} left out", imported.devices, imported.left_out);
    if imported.devices == 0 {
        return Err(Failure::Usage(counts));
    }
    drop(writeln!(io::stderr(), "{counts}"));
    Ok(())
}

/// A reader that went away (`| head`) is no failure.
fn print(text: String) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
