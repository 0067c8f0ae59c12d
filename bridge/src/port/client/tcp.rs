//! What the kernel knows of a client's connection. Used by the client alone; asks, and must not change anything.
#![allow(unsafe_code, reason = "TCP_INFO and SIOCOUTQ have no safe wrapper")]

use std::os::fd::AsRawFd;

use tokio::net::TcpStream;

/// States of a connection (linux/tcp_states.h).
pub(super) const TCP_CLOSE: u8 = 7;
pub(super) const TCP_CLOSE_WAIT: u8 = 8;

/// TCP_INFO of tcp(7); what the kernel does not know yet is 0.
pub(super) fn info_of(stream: &TcpStream) -> Option<libc::tcp_info> {
    // SAFETY: integers only: all zeros is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
    // SAFETY: the descriptor is open while the stream is borrowed; pointer and length are those of `info`.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(info)
}

/// Bytes that the kernel has taken and the peer has not acknowledged (SIOCOUTQ of tcp(7), the number of TIOCOUTQ).
pub(super) fn unacknowledged(stream: &TcpStream) -> libc::c_int {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while the stream is borrowed; the request writes one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result < 0 { 0 } else { bytes }
}
