//! What the bridge finds: simulated sticks beside the machine's own ttys, or the latter alone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serialfleet_api::resolve::ResolvedDevice;
use serialfleet_sim::{Host, Mode, Stick};

use super::{
    neighbours::Neighbours,
    simulated::{is_simulated, stick_for},
};

/// The directories that the bridge is given, and what is in them.
#[derive(Debug)]
pub(super) struct Hardware {
    pub(super) sysfs_root: PathBuf,
    pub(super) dev_root: PathBuf,
    sticks: BTreeMap<String, Simulated>,
    neighbours: Option<Neighbours>,
}

/// One simulated stick.
#[derive(Debug)]
struct Simulated {
    stick: Stick,
    mode: Mode,
    /// Where it is, or was last.
    socket: String,
    plugged: bool,
}

impl Hardware {
    /// The machine's own.
    pub(super) fn own() -> Self {
        Self { sysfs_root: "/sys".into(), dev_root: "/dev".into(), sticks: BTreeMap::new(), neighbours: None }
    }

    /// A stick for each device that wants one, plugged in, beside the machine's own ttys; all of it below `directory`.
    pub(super) fn simulated(directory: &Path, devices: &[ResolvedDevice], uevents: bool) -> Result<Self> {
        let (sysfs_root, dev_root) = (directory.join("sys"), directory.join("dev"));
        let mut host = Host::at(&sysfs_root, &dev_root)?;
        if uevents {
            host = host.with_uevents()?;
        }
        let mut sticks = BTreeMap::new();
        for (index, device) in devices.iter().filter(|device| is_simulated(device)).enumerate() {
            let spec = stick_for(device, index)?;
            let (mode, socket) = (spec.mode, spec.usb_path.clone());
            let stick = host.plug(spec).with_context(|| format!("simulating {}", device.name))?;
            sticks.insert(device.name.clone(), Simulated { stick, mode, socket, plugged: true });
        }
        if sticks.is_empty() {
            bail!(
                "no device of this fleet says `product: Simulated*`; to serve this machine's own: make demo FLEET=..."
            );
        }
        let mut neighbours = Neighbours::new(&sysfs_root, &dev_root)?;
        neighbours.refresh()?;
        Ok(Self { sysfs_root, dev_root, sticks, neighbours: Some(neighbours) })
    }

    /// What answers behind a device, where that is known.
    pub(super) fn mode(&self, device: &str) -> Option<Mode> {
        self.sticks.get(device).map(|simulated| simulated.mode)
    }

    /// Devices with a simulated stick.
    pub(super) fn simulated_devices(&self) -> Vec<String> {
        self.sticks.keys().cloned().collect()
    }

    /// Whether there is anything to unplug by typing.
    pub(super) fn is_simulated(&self) -> bool {
        !self.sticks.is_empty()
    }

    /// Follows what is really plugged in; whether that changed.
    pub(super) fn refresh(&mut self) -> Result<bool> {
        self.neighbours
            .as_mut()
            .map_or(Ok(false), Neighbours::refresh)
            .context("following what is really plugged in")
    }

    pub(super) fn unplug(&mut self, device: &str) -> Result<()> {
        let simulated = self.stick(device)?;
        if !simulated.plugged {
            bail!("{device} is not plugged in");
        }
        simulated.plugged = false;
        simulated.stick.unplug()
    }

    pub(super) fn plug(&mut self, device: &str) -> Result<()> {
        let simulated = self.stick(device)?;
        if simulated.plugged {
            bail!("{device} is plugged in already");
        }
        simulated.plugged = true;
        simulated.stick.plug()
    }

    /// Unplugs it if it is plugged in, and plugs it in at a socket, `1-3`.
    pub(super) fn move_to(&mut self, device: &str, socket: &str) -> Result<()> {
        let is_socket = socket.strip_prefix("1-").is_some_and(|chain| {
            chain.split('.').all(|port| port.parse().is_ok_and(|port: u8| (1..=16).contains(&port)))
        });
        if !is_socket {
            bail!("{socket:?} is no socket: write 1-3, or behind a hub 1-1.4");
        }
        let taken = |(name, other): &(&String, &Simulated)| *name != device && other.socket == socket;
        if let Some((other, _)) = self.sticks.iter().find(taken) {
            bail!("socket {socket} is {other}'s");
        }
        let simulated = self.stick(device)?;
        if simulated.plugged {
            simulated.stick.unplug()?;
        }
        let usb_path = socket.to_owned();
        simulated.stick.change(|spec| spec.usb_path = usb_path)?;
        socket.clone_into(&mut simulated.socket);
        simulated.plugged = true;
        simulated.stick.plug()
    }

    /// How often the device was opened since it was there: each time is an edge on DTR and RTS of a real one.
    pub(super) fn opens(&mut self, device: &str) -> Result<u64> {
        self.stick(device)?.stick.opens(0)
    }

    fn stick(&mut self, device: &str) -> Result<&mut Simulated> {
        let names: Vec<&str> = self.sticks.keys().map(String::as_str).collect();
        let names = names.join(", ");
        self.sticks.get_mut(device).with_context(|| match names.as_str() {
            "" => "nothing is simulated here: unplug the real one".to_owned(),
            names => format!("no simulated stick {device:?}; there are: {names}"),
        })
    }
}
