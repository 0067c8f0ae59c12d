//! What is done at random: by clients, with plugs, to the fleet.
//!
//! Owner: one thread each. An action may fail in any way that a bridge with such a fleet may answer; only the client
//! that is left in peace judges. Each action leaves its stick plugged in and its sockets closed.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use anyhow::Result;
use socket2::SockRef;

use crate::{
    fleet,
    gate::Gate,
    world::{Spread, World},
};

/// Clients of one port.
pub(crate) fn clients(
    world: &World,
    gate: &Gate,
    spread: &Spread,
    port: usize,
    mut random: fastrand::Rng,
) -> Result<()> {
    let address = world.address(port)?;
    while let Some(_passage) = gate.pass() {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, REPLY) else {
            spread.count("refused");
            std::thread::sleep(PAUSE);
            continue;
        };
        stream.set_read_timeout(Some(REPLY))?;
        stream.set_write_timeout(Some(REPLY))?;
        match random.u8(..9) {
            0 => {
                spread.count("connect and close");
            }
            1 => {
                spread.count("echo");
                talk(&mut stream, &mut random, 20);
            }
            2 => {
                spread.count("half-close");
                talk(&mut stream, &mut random, 2);
                stream.shutdown(Shutdown::Write).ok();
                drain(&mut stream);
            }
            3 => {
                spread.count("reset");
                talk(&mut stream, &mut random, 3);
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
            }
            4 => {
                spread.count("never reads");
                let flood = [random.u8(..); 4096];
                while !gate.is_closing() && stream.write_all(&flood).is_ok() && random.u8(..64) > 0 {}
            }
            5 => {
                spread.count("garbage");
                let mut garbage = [0; 2048];
                random.fill(&mut garbage);
                // Telnet's escape now and then, so that commands come about.
                garbage.iter_mut().filter(|_| random.u8(..4) == 0).for_each(|byte| *byte = 0xFF);
                stream.write_all(&garbage).ok();
                drain(&mut stream);
            }
            6 => {
                spread.count("flood of connects");
                let crowd: Vec<_> =
                    (0..50).filter_map(|_| TcpStream::connect_timeout(&address, REPLY).ok()).collect();
                drop(crowd);
            }
            7 => {
                spread.count("silence");
                std::thread::sleep(PAUSE * random.u32(1..8));
            }
            _ => {
                spread.count("second client");
                if let Ok(mut second) = TcpStream::connect_timeout(&address, REPLY) {
                    second.set_read_timeout(Some(REPLY))?;
                    talk(&mut second, &mut random, 3);
                }
                talk(&mut stream, &mut random, 3);
            }
        }
    }
    Ok(())
}

/// The plug of one stick, and its firmware.
pub(crate) fn plugs(
    world: &World,
    gate: &Gate,
    spread: &Spread,
    port: usize,
    mut random: fastrand::Rng,
) -> Result<()> {
    let Some(stick) = world.sticks.get(port) else { return Ok(()) };
    while let Some(_passage) = gate.pass() {
        match random.u8(..4) {
            0 => {
                spread.count("unplugs");
                stick.unplug()?;
                std::thread::sleep(PAUSE * random.u32(..12));
                stick.plug()?;
            }
            1 => {
                spread.count("replugs");
                stick.replug()?;
            }
            2 => {
                spread.count("hung firmware");
                stick.freeze()?;
                std::thread::sleep(PAUSE * random.u32(1..6));
                stick.thaw()?;
            }
            _ => {}
        }
        for _ in 0..random.u32(1..20) {
            if !gate.is_closing() {
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(())
}

/// The fleet's file.
pub(crate) fn edits(world: &World, gate: &Gate, spread: &Spread, mut random: fastrand::Rng) -> Result<()> {
    while let Some(_passage) = gate.pass() {
        spread.count("edits");
        world.edit(&fleet::edited(&world.devices, &mut random))?;
        for _ in 0..random.u32(1..30) {
            if !gate.is_closing() {
                std::thread::sleep(PAUSE);
            }
        }
    }
    Ok(())
}

/// Some requests, each with whatever comes back.
fn talk(stream: &mut TcpStream, random: &mut fastrand::Rng, most: u32) {
    let mut back = [0; 4096];
    for _ in 0..random.u32(1..=most) {
        let request = vec![random.u8(..); random.usize(1..1024)];
        if stream.write_all(&request).is_err() || matches!(stream.read(&mut back), Ok(0) | Err(_)) {
            return;
        }
    }
}

/// Reads until nothing comes any more.
fn drain(stream: &mut TcpStream) {
    let mut back = [0; 4096];
    loop {
        match stream.read(&mut back) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

const REPLY: Duration = Duration::from_millis(300);
const PAUSE: Duration = Duration::from_millis(100);
