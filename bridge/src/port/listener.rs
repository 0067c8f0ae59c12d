//! The listening sockets of one port: one for each address. They exist only while the port is Serving, so that in
//! every other state the kernel answers "connection refused".

use std::{
    io,
    net::SocketAddr,
    task::{Context, Poll},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that the kernel completes before they are accepted (listen(2) backlog).
const BACKLOG: i32 = 128;

pub(super) struct Listener {
    sockets: Vec<TcpListener>,
}

impl Listener {
    /// Binds all addresses or none.
    pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Self, (SocketAddr, io::Error)> {
        let sockets = addresses.iter().map(|address| bind(*address).map_err(|error| (*address, error)));
        Ok(Self { sockets: sockets.collect::<Result<_, _>>()? })
    }

    /// Where it listens; port 0 was replaced by the kernel's choice.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        for socket in &self.sockets {
            if let Poll::Ready(accepted) = socket.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // A pod's addresses come as one of each family: [::] must leave 0.0.0.0 free.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
