//! A TLS client whose every wait is bounded.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};

use super::{
    certificates::{Ca, HOST, Pair},
    rig::{LIMIT, Rig},
};

pub(crate) fn trusting(ca: &Ca) -> Arc<ClientConfig> {
    config(ca, None, &[&rustls::version::TLS13, &rustls::version::TLS12])
}

pub(crate) fn config(
    ca: &Ca,
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_slice_iter(own.certificate.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key).unwrap()
        }
    })
}

#[derive(Debug)]
pub(crate) struct Client(pub(crate) StreamOwned<ClientConnection, TcpStream>);

impl Client {
    pub(crate) fn to(rig: &Rig, port: &str, config: &Arc<ClientConfig>) -> Self {
        Self::try_to(rig.address_of(port), config).unwrap()
    }

    /// With TLS 1.3 a refusal of the client's certificate comes after this, with the first read.
    pub(crate) fn try_to(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut socket = TcpStream::connect_timeout(&address, LIMIT)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(HOST).unwrap();
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self(StreamOwned::new(session, socket)))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.sock.local_addr().unwrap()
    }

    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.0.read_exact(&mut read).unwrap_or_else(|error| panic!("waiting for {bytes:?}: {error}"));
        assert_eq!(read, bytes);
    }

    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// What came until the end; an error if the end was not said.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        self.0.read_to_end(&mut read).map(|_| read)
    }

    /// close_notify, and no FIN.
    pub(crate) fn say_close(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}

/// The first certificate of a PEM file.
pub(crate) fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}
