//! A bridge on a simulated host, in one process with the test.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serialfleet_api::{fleet::SerialFleet, node::PortState, validate};
use serialfleet_bridge::{
    closer::Closer,
    data::DataThread,
    discovery::hotplug::Hotplug,
    fleet_source::{Fleet, FleetState, Origin},
    metrics::Metrics,
    opener::Opener,
    supervisor::{Config, Outlook, PortView, Supervisor},
    tls,
};
use serialfleet_sim::{Host, Scene, StickSpec};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than anything takes; a test that fails waits for it once.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// Addresses of 127/8 are all ours: each test has its own, so that fixed ports never meet.
pub(crate) fn own_address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let next = u8::try_from(NEXT.fetch_add(1, Ordering::Relaxed) + 1).unwrap();
    Ipv4Addr::new(127, high.max(1), low, next).into()
}

/// All tests of a binary share one table of descriptors, and 1024 is the usual limit.
fn allow_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum }).unwrap();
}

pub(crate) fn fleet(devices: &str) -> SerialFleet {
    let text = format!(
        "apiVersion: serialfleet.io/v1alpha1\nkind: SerialFleet\nmetadata: {{name: home}}\nspec:\n  devices:\n{devices}"
    );
    let value: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    validate::validate(&value).unwrap()
}

/// A stick that can be told apart.
pub(crate) fn stick(serial_number: &str) -> StickSpec {
    StickSpec::new(Scene::Cp210x).serial_number(serial_number)
}

pub(crate) struct Rig {
    pub(crate) host: Host,
    pub(crate) metrics: Metrics,
    pub(crate) outlook: Outlook,
    fleet: watch::Sender<FleetState>,
    shutdown: CancellationToken,
    control: Option<JoinHandle<()>>,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    pub(crate) fn new(devices: &str) -> Self {
        Self::on(Host::new().unwrap(), devices)
    }

    pub(crate) fn on(host: Host, devices: &str) -> Self {
        Self::with_tls(host, devices, tls::Options::default())
    }

    /// With this limit for all queues together.
    pub(crate) fn with_ceiling(ceiling: usize, host: Host, devices: &str) -> Self {
        Self::start(host, devices, ceiling, tls::Options::default())
    }

    pub(crate) fn with_tls(host: Host, devices: &str, tls: tls::Options) -> Self {
        Self::start(host, devices, usize::MAX, tls)
    }

    fn start(host: Host, devices: &str, ceiling: usize, tls: tls::Options) -> Self {
        allow_descriptors();
        let address = own_address();
        let state = FleetState {
            fleet: Some(Arc::new(Fleet { object: fleet(devices), refused: BTreeMap::new() })),
            origin: Origin::File,
            ..FleetState::default()
        };
        let (fleet, fleet_rx) = watch::channel(state);
        let shutdown = CancellationToken::new();
        let metrics = Metrics::default();
        let config = Config {
            node: "wyse-1".into(),
            sysfs_root: host.sysfs_root().to_owned(),
            dev_root: host.dev_root().to_owned(),
            bind: vec![address],
            in_cluster: false,
            tls,
        };
        let opener = Opener::start(host.dev_root().to_owned()).unwrap();
        let (data, data_join) = DataThread::start(ceiling).unwrap();
        let (stop, meters) = (shutdown.clone(), metrics.clone());
        let (outlook_tx, outlook_rx) = std::sync::mpsc::sync_channel(1);
        let control = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let hotplug = Hotplug::new(&config.dev_root);
                let (supervisor, outlook) =
                    Supervisor::new(config, opener, Closer::default(), data, meters, fleet_rx);
                outlook_tx.send(outlook).unwrap();
                supervisor.run(hotplug, stop).await;
                assert!(data_join.join(LIMIT).await, "every port ends");
            });
        });
        Self {
            host,
            metrics,
            outlook: outlook_rx.recv().unwrap(),
            fleet,
            shutdown,
            control: Some(control),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        }
    }

    pub(crate) fn edit(&self, devices: &str) {
        let object = fleet(devices);
        self.fleet.send_modify(|state| {
            state.fleet = Some(Arc::new(Fleet { object, refused: BTreeMap::new() }));
        });
    }

    pub(crate) fn change_fleet(&self, change: impl FnOnce(&mut Fleet)) {
        self.fleet.send_modify(|state| change(Arc::make_mut(state.fleet.as_mut().unwrap())));
    }

    /// Waits until the port's view satisfies `wanted`.
    pub(crate) fn wait(&self, port: &str, wanted: impl Fn(&PortView) -> bool) -> PortView {
        let mut ports = self.outlook.ports.clone();
        let found = self.runtime.block_on(async {
            tokio::time::timeout(
                LIMIT,
                ports.wait_for(|ports| ports.iter().any(|view| view.name == port && wanted(view))),
            )
            .await
            .ok()
            .and_then(Result::ok)
            .map(|ports| ports.iter().find(|view| view.name == port).unwrap().clone())
        });
        found.unwrap_or_else(|| panic!("{port} stays {:#?}", self.outlook.ports.borrow()))
    }

    pub(crate) fn wait_state(&self, port: &str, state: PortState) -> PortView {
        self.wait(port, |view| view.state == state)
    }

    /// Waits until the port is served and connects to it.
    pub(crate) fn connect(&self, port: &str) -> Client {
        Client::to(self.address_of(port))
    }

    pub(crate) fn address_of(&self, port: &str) -> SocketAddr {
        self.wait(port, |view| view.state == PortState::Serving && !view.addresses.is_empty()).addresses[0]
    }

    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let text = self.metrics.encode().unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
    }

    /// Waits until a metric has at least this value. Counters have no event of their own: this yields until then.
    pub(crate) fn wait_metric(&self, line: &str, least: f64) {
        let start = std::time::Instant::now();
        while self.metric(line).is_none_or(|value| value < least) {
            assert!(
                start.elapsed() < LIMIT,
                "{line} stays {:?}\n{}",
                self.metric(line),
                self.metrics.encode().unwrap()
            );
            std::thread::yield_now();
        }
    }

    pub(crate) fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(control) = self.control.take() {
            control.join().unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(control) = self.control.take()
            && control.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the bridge failed");
        }
    }
}

/// A TCP client whose every wait is bounded.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        let mut read = vec![0; bytes.len()];
        self.0
            .read_exact(&mut read)
            .unwrap_or_else(|error| panic!("waiting for {} bytes: {error}", bytes.len()));
        assert!(read == bytes, "other bytes came: {:?} ...", read.get(..64).unwrap_or(&read));
    }

    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.expect(bytes);
    }

    /// The bridge has closed the connection; returns what came before.
    pub(crate) fn expect_end(&mut self) -> Vec<u8> {
        let mut read = Vec::new();
        match self.0.read_to_end(&mut read) {
            Ok(_) => read,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => read,
            Err(error) => panic!("the connection is not closed: {error}"),
        }
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}

/// Whether nobody is let in any more. The state may be told a moment before the port has closed its listener.
pub(crate) fn refused(address: SocketAddr) -> bool {
    let start = std::time::Instant::now();
    let is_refused = || {
        TcpStream::connect_timeout(&address, LIMIT)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    while start.elapsed() < LIMIT {
        if is_refused() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
