//! Many bytes, and clients that do not read: nothing is lost, nothing is stuck, nothing grows.

use std::{
    io::Write,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use serialfleet_sim::Mode;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    certificates::{Ca, HOST, Mount, ca, issued},
    client::{Client, trusting},
    ended,
    rig::{LIMIT, stick},
    zigbee,
};

const BLOCK: &str = "tls: {mode: Server}, clients: {slowReader: Block}";

/// A line that has not moved for so long is waiting for something.
const STANDSTILL: Duration = Duration::from_millis(300);

/// Byte for byte different from itself a record later.
fn bytes(length: usize) -> Vec<u8> {
    (0..u32::MAX).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()).take(length).collect()
}

/// With a receive buffer of a few KiB, so that the bridge's socket takes records in pieces.
async fn narrow(address: SocketAddr, ca: &Ca) -> TlsStream<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let stream = TcpStream::from_std(socket.into()).unwrap();
    let connector = TlsConnector::from(Arc::clone(&trusting(ca)));
    connector.connect(ServerName::try_from(HOST).unwrap(), stream).await.unwrap()
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(6 * LIMIT, test).await.unwrap() });
}

#[test]
fn large_transfers_arrive_whole_whoever_reads_slowly() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(BLOCK));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let address = rig.address_of("zigbee");
    let sent = bytes(1_000_000);
    // A record in one read, records in pieces, many reads of one record.
    for piece in [64 * 1024, 1000, 37] {
        block_on(async {
            let (mut reader, mut writer) = split(narrow(address, &ca).await);
            let writing = async { writer.write_all(&sent).await.unwrap() };
            let reading = async {
                let mut read = Vec::with_capacity(sent.len());
                let mut buffer = vec![0; piece];
                while read.len() < sent.len() {
                    let count = reader.read(&mut buffer).await.unwrap();
                    assert!(count > 0, "ended after {}", read.len());
                    read.extend_from_slice(&buffer[..count]);
                }
                assert!(read == sent, "what came is not what was sent");
            };
            tokio::join!(writing, reading);
        });
    }
}

/// The last bytes of a burst wait, encrypted, for a socket that takes nothing: no other event will ever come.
#[test]
fn what_the_socket_did_not_take_arrives_once_it_does() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee(BLOCK));
    let stick = rig.host.plug(stick("A1").mode(Mode::Silent)).unwrap();
    let address = rig.address_of("zigbee");
    block_on(async {
        let mut stream = narrow(address, &ca).await;
        stream.write_all(b"hello").await.unwrap();
        stick.wait_received(0, LIMIT, b"hello").unwrap();
        // More than the kernel keeps for a socket (tcp_wmem, some megabytes).
        let sent = bytes(12_000_000);
        let to_send = sent.clone();
        let sending = std::thread::spawn(move || {
            for piece in to_send.chunks(64 * 1024) {
                stick.send(0, piece).unwrap();
            }
            stick
        });
        // Until nothing moves any more: the client's and the bridge's buffers are full, the device waits.
        let moved = || rig.metric("serialfleet_port_bytes_total{port=\"zigbee\",direction=\"from_device\"}");
        let (mut before, mut since) = (moved(), Instant::now());
        while since.elapsed() < STANDSTILL || before < Some(1.0) {
            let now = moved();
            if now != before {
                (before, since) = (now, Instant::now());
            }
            tokio::task::yield_now().await;
        }
        assert!(before < Some(sent.len() as f64), "the socket took everything");
        let mut read = vec![0; sent.len()];
        // A byte the other way, now and then, in the moment in which the socket takes something again.
        for piece in read.chunks_mut(10_007) {
            stream.write_all(b".").await.unwrap();
            stream.read_exact(piece).await.unwrap();
        }
        assert!(read == sent, "what came is not what was sent");
        sending.join().unwrap();
    });
}

#[test]
fn a_client_that_never_reads_is_ended() {
    let ca = ca();
    let mount = Mount::of(&issued(&ca));
    let rig = super::rig(&mount, &zigbee("tls: {mode: Server}"));
    let _stick = rig.host.plug(stick("A1")).unwrap();
    let mut client = Client::to(&rig, "zigbee", &trusting(&ca));
    let chunk = bytes(16 * 1024);
    // Echoed until the bridge has enough of it.
    while rig.metric(&ended("zigbee", "SlowReader")).is_none() {
        if client.0.write_all(&chunk).is_err() {
            break;
        }
    }
    rig.wait_metric(&ended("zigbee", "SlowReader"), 1.0);
    let next = Client::to(&rig, "zigbee", &trusting(&ca));
    rig.wait("zigbee", |view| view.clients.iter().any(|it| it.peer == next.peer()));
}
