//! One netlink request and the kernel's answer to it.
//!
//! Owner: `uevent` (injection) and `namespace` (bringing `lo` up). Knows the framing only, not what is inside.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// A netlink socket that waits for the kernel's acknowledgement of each request.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends one message to the kernel; an error number in its answer becomes the error.
    pub(crate) fn request(&mut self, message_type: u16, payload: &[u8]) -> io::Result<()> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&message_type.to_ne_bytes());
        message.extend_from_slice(&(NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0_u32.to_ne_bytes());
        message.extend_from_slice(payload);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0_u8; 8192];
        let (received, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        acknowledgement(&answer[..received])
    }
}

fn acknowledgement(answer: &[u8]) -> io::Result<()> {
    let (Some(kind), Some(code)) = (answer.get(4..6), answer.get(HEADER..HEADER + 4)) else {
        return Err(io::Error::other("netlink: a truncated answer"));
    };
    let code = i32::from_ne_bytes([code[0], code[1], code[2], code[3]]);
    if u16::from_ne_bytes([kind[0], kind[1]]) == NLMSG_ERROR && code != 0 {
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(())
}

/// The first message type that is not netlink's own: a uevent to KOBJECT_UEVENT, RTM_NEWLINK to ROUTE.
pub(crate) const FIRST_FAMILY_TYPE: u16 = 16;

const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
