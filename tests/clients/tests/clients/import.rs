//! From ser2net to the bridge: the same client, the same port, the configuration imported.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serialfleet_clients::{bridge::Bridge, environment, program::Program};
use serialfleet_sim::{Host, Scene, StickSpec};

pub(crate) fn a_client_of_ser2net_goes_on_with_the_bridge() -> Result<()> {
    let host = Host::new()?;
    let stick = host.plug(StickSpec::new(Scene::Cp210x).serial_number("0c8b3f2e"))?;
    let port = free_port()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("ser2net.yaml");
    let configuration = |dev: &str| {
        format!(
            "connection: &zigbee\n  accepter: tcp,{port}\n  connector: serialdev,{dev}/ttyUSB0,57600n81,local\n  options:\n    kickolduser: true\n"
        )
    };

    // What ser2net calls /dev is elsewhere here. No dtr and rts: without modem lines it does not open at all.
    fs::write(&file, configuration(&host.dev_root().display().to_string()))?;
    let ser2net = Program::start("ser2net", Command::new("ser2net").args(["-n", "-u", "-c"]).arg(&file))?;
    newcomer_takes_over(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).with_context(|| ser2net.said())?;
    drop(ser2net);
    stick.wait_closed(0, SOON)?;

    fs::write(&file, configuration("/dev"))?;
    let mut import = Command::new(environment::bridge());
    // Not its device root: the nodes there are links, which real ones are not.
    import.arg("import").arg("--sysfs-root").arg(host.sysfs_root());
    let imported = import.arg(&file).output()?;
    ensure!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let bridge = Bridge::start_with(&host, &String::from_utf8(imported.stdout)?)?;
    let address = bridge.serving("zigbee")?;
    ensure!(address.port() == port, "served at {address}");
    newcomer_takes_over(address)?;
    ensure!(stick.line(0)?.baud == 57_600, "the line is {:?}", stick.line(0)?);
    Ok(())
}

/// A gateway, and the same gateway once more after it has lost its connection without a word.
fn newcomer_takes_over(address: SocketAddr) -> Result<()> {
    let mut first = connect(address)?;
    echo(&mut first, b"first").context("who comes first")?;
    let mut second = connect(address)?;
    echo(&mut second, b"second").context("who comes second")?;
    let end = first.read(&mut [0]);
    let ended =
        matches!(&end, Ok(0)) || end.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    ensure!(ended, "both are served: {end:?}");
    echo(&mut second, &[0xFF; 1000]).context("who comes second, again")
}

/// Connects, once somebody listens.
fn connect(address: SocketAddr) -> Result<TcpStream> {
    let start = Instant::now();
    let stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) if start.elapsed() > SOON => return Err(error).context(address.to_string()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn echo(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    ensure!(back == bytes, "{:?} came back", String::from_utf8_lossy(&back));
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port())
}

/// Longer than anything takes that only the machine's speed delays.
const SOON: Duration = Duration::from_secs(10);
