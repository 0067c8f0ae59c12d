//! What a simulated device answers to what it receives.
//!
//! Owner: `stick`. Pure: bytes in, bytes out; an incomplete frame stays in the buffer.

use std::mem;

use serde::Serialize;

/// A device's firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every byte comes back.
    #[default]
    Echo,
    /// Reads, never answers.
    Silent,
    /// Z-Stack (ZNP): SYS_PING and SYS_VERSION are answered.
    #[value(name = "zstack")]
    ZStack,
    /// Modbus RTU, unit 1: holding register N holds N (function 3), single writes are acknowledged (6), any other
    /// function gets exception 1. Frames are found by their CRC, as there is no silence to rely on.
    Modbus,
}

impl Mode {
    /// Eats what it understands from `received` and returns the answer.
    pub fn answer(self, received: &mut Vec<u8>) -> Vec<u8> {
        match self {
            Self::Echo => mem::take(received),
            Self::Silent => {
                received.clear();
                Vec::new()
            }
            Self::ZStack => zstack(received),
            Self::Modbus => modbus(received),
        }
    }
}

/// A Z-Stack frame around a command (two bytes) and its data: for tests that ask.
pub fn zstack_frame(command: [u8; 2], data: &[u8]) -> Vec<u8> {
    let mut frame = vec![0xFE, u8::try_from(data.len()).expect("at most 250 bytes of data")];
    frame.extend_from_slice(&command);
    frame.extend_from_slice(data);
    frame.push(xor(&frame[1..]));
    frame
}

/// A Modbus RTU frame: the body with its CRC, low byte first.
pub fn modbus_frame(body: &[u8]) -> Vec<u8> {
    [body, &crc16(body).to_le_bytes()].concat()
}

/// The CRC of Modbus RTU (polynomial 0x8005 reflected, all ones at the start).
pub fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xA001 })
    })
}

fn modbus(received: &mut Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(&[unit, function, a, b, c, d, low, high]) = received.first_chunk::<8>() {
        if crc16(&received[..6]) != u16::from_le_bytes([low, high]) {
            received.remove(0);
            continue;
        }
        received.drain(..8);
        if unit != 1 {
            continue;
        }
        let (first, count) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        out.extend(modbus_frame(&match (function, u8::try_from(count)) {
            (3, Ok(count @ 1..=125)) => {
                let registers = (0..u16::from(count)).flat_map(|n| first.wrapping_add(n).to_be_bytes());
                [unit, 3, 2 * count].into_iter().chain(registers).collect()
            }
            (6, _) => vec![unit, 6, a, b, c, d],
            _ => vec![unit, function | 0x80, 1],
        }));
    }
    out
}

fn zstack(received: &mut Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(&[start, length, ..]) = received.first_chunk::<5>() {
        if start != 0xFE || length > 250 {
            received.remove(0);
            continue;
        }
        let size = usize::from(length) + 5;
        let Some(frame) = received.get(..size) else { break };
        if xor(&frame[1..size - 1]) != frame[size - 1] {
            received.remove(0);
            continue;
        }
        match (frame[2], frame[3]) {
            (0x21, 0x01) => out.extend(zstack_frame([0x61, 0x01], &[0x79, 0x07])),
            (0x21, 0x02) => out.extend(zstack_frame([0x61, 0x02], &[0x02, 0x01, 0x02, 0x07, 0x01])),
            _ => {}
        }
        received.drain(..size);
    }
    out
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modbus_crc_is_that_of_the_specification() {
        // The check value of CRC-16/MODBUS, and the frame most often printed in manuals.
        assert_eq!(crc16(b"123456789"), 0x4B37);
        assert_eq!(modbus_frame(&[1, 3, 0, 0, 0, 0x0A]), [1, 3, 0, 0, 0, 0x0A, 0xC5, 0xCD]);
    }

    #[test]
    fn modbus_answers_registers_writes_and_exceptions() {
        let ask = |body: &[u8]| Mode::Modbus.answer(&mut modbus_frame(body));
        assert_eq!(ask(&[1, 3, 0, 5, 0, 2]), modbus_frame(&[1, 3, 4, 0, 5, 0, 6]));
        assert_eq!(ask(&[1, 6, 0, 5, 0, 2]), modbus_frame(&[1, 6, 0, 5, 0, 2]));
        assert_eq!(ask(&[1, 3, 0, 5, 0, 126]), modbus_frame(&[1, 0x83, 1]));
        assert_eq!(ask(&[1, 4, 0, 0, 0, 1]), modbus_frame(&[1, 0x84, 1]));
        assert_eq!(ask(&[2, 3, 0, 5, 0, 2]), []);
    }

    #[test]
    fn frames_may_come_in_pieces_and_after_noise() {
        let frame = modbus_frame(&[1, 6, 0, 5, 0, 2]);
        let mut buffer = vec![0xAA, 0x55];
        let mut out = Vec::new();
        for &byte in &frame {
            buffer.push(byte);
            out.extend(Mode::Modbus.answer(&mut buffer));
        }
        assert_eq!((out, buffer), (frame, Vec::new()));

        let mut buffer = vec![0x00];
        buffer.extend(zstack_frame([0x21, 0x01], &[]));
        assert_eq!(Mode::ZStack.answer(&mut buffer), [0xFE, 0x02, 0x61, 0x01, 0x79, 0x07, 0x1C]);
        assert_eq!(buffer, []);
    }

    #[test]
    fn echo_returns_and_silent_swallows() {
        let mut buffer = b"abc".to_vec();
        assert_eq!(Mode::Echo.answer(&mut buffer), b"abc");
        assert_eq!(Mode::Silent.answer(&mut b"abc".to_vec()), b"");
        assert!(buffer.is_empty());
    }
}
