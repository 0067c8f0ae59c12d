//! Sessions over loopback, with rustls on the other side.

use std::{future::poll_fn, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{io::AsyncReadExt, net::TcpListener};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream as Peer};

use super::*;

async fn pair() -> (Transport, Peer<TcpStream>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["zigbee".into()]).unwrap();
    let provider = Arc::new(default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::Pkcs8(signing_key.serialize_der().into()))
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (ours, theirs) = tokio::join!(
        TlsAcceptor::from(Arc::new(server)).accept(accepted),
        connector.connect(ServerName::try_from("zigbee").unwrap(), socket)
    );
    let (stream, session) = ours.unwrap().into_inner();
    let finished = Finished { socket: stream.into_std().unwrap(), session };
    (Transport::tls(finished).unwrap(), theirs.unwrap())
}

/// What was taken is either with the kernel or pending; that it is pending is seen until it has left.
#[tokio::test]
async fn a_record_that_the_socket_does_not_take_is_pending_until_it_does() {
    let (mut transport, mut peer) = pair().await;
    let chunk = [7; RECORD];
    let mut taken = 0;
    while let Poll::Ready(written) = poll_fn(|cx| Poll::Ready(transport.poll_write(cx, &chunk))).await {
        taken += written.unwrap();
    }
    assert!(transport.pending() > 0 && transport.pending() <= RECORD);
    let waits = poll_fn(|cx| Poll::Ready(transport.poll_flush(cx).is_pending())).await;
    assert!(waits, "nobody has read anything");
    let mut read = vec![0; taken];
    let flushed = poll_fn(|cx| transport.poll_flush(cx));
    let (flushed, all) = tokio::join!(flushed, peer.read_exact(&mut read));
    flushed.unwrap();
    all.unwrap();
    assert_eq!(transport.pending(), 0);
}

/// A look takes nothing, neither a byte nor the end.
#[tokio::test]
async fn a_peek_leaves_the_byte() {
    let (mut transport, mut peer) = pair().await;
    assert!(transport.peek().is_pending());
    tokio::io::AsyncWriteExt::write_all(&mut peer, b"x").await.unwrap();
    assert!(poll_fn(|cx| transport.poll_peek(cx)).await.unwrap());
    assert!(matches!(transport.peek(), Poll::Ready(Ok(true))));
    let mut byte = [0; 8];
    assert_eq!(poll_fn(|cx| transport.poll_read(cx, &mut byte)).await.unwrap(), 1);
    assert_eq!(byte[0], b'x');
    assert!(transport.peek().is_pending());
    tokio::io::AsyncWriteExt::shutdown(&mut peer).await.unwrap();
    assert!(!poll_fn(|cx| transport.poll_peek(cx)).await.unwrap());
    assert!(matches!(transport.peek(), Poll::Ready(Ok(false))));
    // Nobody has closed our side: the answer still goes.
    assert_eq!(poll_fn(|cx| transport.poll_write(cx, b"y")).await.unwrap(), 1);
    assert_eq!(peer.read(&mut byte).await.unwrap(), 1);
    poll_fn(|cx| transport.poll_close(cx)).await.unwrap();
    assert_eq!(peer.read(&mut byte).await.unwrap(), 0);
}
