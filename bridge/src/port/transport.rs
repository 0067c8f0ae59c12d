//! What a client is read from and written to: a TCP connection, plain or with TLS over it.
//!
//! Owner: [`super::client`], on the data thread. Whatever was accepted here and has not reached the kernel is in
//! [`Transport::pending`] and is owed to the client. Must not know of ports and devices, nor make handshakes.

#[cfg(test)]
mod tests;

use std::{
    io::{self, BufRead, Read, Write},
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::tls::Finished;

/// Plaintext of the largest record (RFC 8446 section 5.1); also what is taken before the socket has taken the last.
const RECORD: usize = 16 * 1024;

pub(super) enum Transport {
    Plain(TcpStream),
    /// Boxed: a plain client must not carry the room of a session.
    Tls(Box<TlsStream>),
}

impl Transport {
    /// Takes over a connection whose handshake is done.
    ///
    /// # Errors
    /// If the runtime cannot wait for its socket.
    pub(super) fn tls(finished: Finished) -> io::Result<Self> {
        let Finished { socket, mut session } = finished;
        session.set_buffer_limit(Some(2 * RECORD));
        let socket = TcpStream::from_std(socket)?;
        Ok(Self::Tls(Box::new(TlsStream { socket, session, pending: 0, closing: false })))
    }

    /// For options and questions to the kernel.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.socket,
        }
    }

    /// Reads what is there, at least one byte; 0: the peer sends no more.
    #[inline]
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
            Self::Tls(stream) => stream.poll_read(cx, buffer),
        }
    }

    /// Takes what can be taken now, at least one byte.
    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => stream.poll_write(cx, bytes),
        }
    }

    /// Bytes that were taken and that the kernel has not got yet, at most a record; at least one while anything at
    /// all is waiting.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(stream) if stream.session.wants_write() => stream.pending.max(1),
            Self::Tls(_) => 0,
        }
    }

    /// Ready when nothing is pending.
    #[inline]
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Whether a byte has arrived (true) or the end (false), without taking it.
    pub(super) fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Plain(socket) => {
                let mut byte = [0];
                let peeked = ready!(socket.poll_peek(cx, &mut ReadBuf::new(&mut byte)))?;
                Poll::Ready(Ok(peeked > 0))
            }
            Self::Tls(stream) => stream.poll_peek(cx),
        }
    }

    /// The same, whatever the runtime knows of it. Whoever is told of an error is the only one.
    pub(super) fn peek(&mut self) -> Poll<io::Result<bool>> {
        match self {
            Self::Plain(socket) => {
                let mut byte = [0_u8];
                match rustix::net::recv(&*socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                    Ok((_, peeked)) => Poll::Ready(Ok(peeked > 0)),
                    Err(Errno::WOULDBLOCK | Errno::INTR) => Poll::Pending,
                    Err(errno) => Poll::Ready(Err(errno.into())),
                }
            }
            Self::Tls(stream) => stream.peek(),
        }
    }

    /// Says that nothing more will be sent: close_notify where there is TLS, then FIN. Reading goes on.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Tls(stream) = self {
            stream.say_close();
            ready!(stream.poll_flush(cx))?;
        }
        Poll::Ready(SockRef::from(self.socket()).shutdown(Shutdown::Write))
    }
}

/// TLS over a connection; at most one record that was taken waits for the socket.
pub(super) struct TlsStream {
    socket: TcpStream,
    session: ServerConnection,
    /// Plaintext of the record that waits, if one does.
    pending: usize,
    closing: bool,
}

impl TlsStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_receive(cx))?,
                // FIN without close_notify. Whoever cuts a connection can cut it anywhere, and a serial line has no
                // end that would have to be proven: many clients end like that.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                read => return Poll::Ready(read),
            }
        }
    }

    fn poll_peek(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(there) = self.decrypted()? {
                return Poll::Ready(Ok(there));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    fn peek(&mut self) -> Poll<io::Result<bool>> {
        loop {
            if let Some(there) = self.decrypted()? {
                return Poll::Ready(Ok(there));
            }
            match self.session.read_tls(&mut Raw(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.decrypt()?;
        }
    }

    /// Whether a byte was decrypted (true) or the end has come (false).
    fn decrypted(&mut self) -> io::Result<Option<bool>> {
        match self.session.reader().fill_buf() {
            Ok(bytes) => Ok(Some(!bytes.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Some(false)),
            Err(error) => Err(error),
        }
    }

    /// Takes one read from the socket, which may be less than a record. Only while nothing decrypted is left: so it is
    /// bounded.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let session = &mut self.session;
            let raw = || session.read_tls(&mut Raw(&self.socket));
            match self.socket.try_io(Interest::READABLE, raw) {
                Ok(_) => return Poll::Ready(self.decrypt()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let owing = self.session.wants_write();
        if let Err(error) = self.session.process_new_packets() {
            // The alert that says why, if the socket takes it.
            self.send_now().ok();
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        // An answer (to a change of keys) goes out at once. Where something is owed already it waits behind that:
        // whoever stopped reading the device for it must see it go, in `poll_flush`.
        if owing { Ok(()) } else { self.send_now() }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let taken = self.session.writer().write(bytes.get(..RECORD).unwrap_or(bytes))?;
        if taken == 0 && !bytes.is_empty() {
            // Its buffer is empty, so only a session that has said farewell takes nothing.
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.pending = taken;
        if let Poll::Ready(flushed) = self.poll_flush(cx) {
            flushed?;
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            ready!(self.socket.poll_write_ready(cx))?;
            let session = &mut self.session;
            match self.socket.try_io(Interest::WRITABLE, || session.write_tls(&mut Raw(&self.socket))) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.pending = 0;
        Poll::Ready(Ok(()))
    }

    fn say_close(&mut self) {
        if !self.closing {
            self.closing = true;
            self.session.send_close_notify();
        }
    }

    /// Whatever the runtime knows of it.
    fn send_now(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Raw(&self.socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// However a client ends, it is told that this is the end, unless bytes are owed to it: then the missing farewell
/// tells it that they are.
impl Drop for TlsStream {
    fn drop(&mut self) {
        self.say_close();
        // A peer that is gone is told nothing.
        self.send_now().ok();
    }
}

/// The socket for rustls: never waits, asks no runtime.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::net::recv(self.0, &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(read),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::net::send(self.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
