//! Which tty belongs to which device of the fleet, on this node.
//!
//! Owner: the rules. A pure function of the fleet's devices, what a scan showed, and what is open already; the
//! order of devices and ttys does not matter. It opens nothing and remembers nothing.
//!
//! What is not open is decided as if nothing were open: a restart comes to the same result. What is open stays
//! where it is for as long as it matches.

mod criteria;
mod drivers;
mod explain;

use std::collections::BTreeMap;

use serialfleet_api::{
    fleet::Match,
    node::{MAX_DEVICES, PresentDevice},
    resolve::ResolvedDevice,
};

use self::criteria::Strength;
use crate::discovery::{
    sysfs::{DeviceKey, Scan, SerialTty},
    text,
};

/// What is to become of a device on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is this tty. A suspended device is bound too: the tty is left closed, and nobody else gets it.
    Bound {
        /// Index in [`Scan::ttys`].
        tty: usize,
        /// Names of further ttys that match: a warning `Ambiguous` as long as this one stays open.
        also: Vec<String>,
        /// The sentence of that warning; empty if there is nothing to warn of.
        warning: String,
    },
    /// Several candidates and none is open, or several devices claim one tty with equal right.
    Ambiguous {
        /// Which, and what would tell them apart.
        message: String,
    },
    /// Not here.
    Absent {
        /// `NoDriver`, `NearMiss`, `Taken` (another device of the fleet has it), or empty: nothing like it.
        reason: &'static str,
        /// What is known, and the next step.
        message: String,
    },
    /// Only the kernel's console matches.
    Denied {
        /// What to do about it.
        message: String,
    },
}

impl Verdict {
    /// Sentences as long as a report takes them.
    fn bounded(mut self) -> Self {
        let (Self::Bound { warning: sentence, .. }
        | Self::Ambiguous { message: sentence }
        | Self::Absent { message: sentence, .. }
        | Self::Denied { message: sentence }) = &mut self;
        *sentence = text::printable(sentence, MAX_SENTENCE);
        self
    }
}

/// The verdict on every device. `open`: what each device has open now.
pub fn assign(
    devices: &[ResolvedDevice],
    node: &str,
    scan: &Scan,
    open: &BTreeMap<String, DeviceKey>,
) -> BTreeMap<String, Verdict> {
    let claims = Claims::new(devices, node, scan);
    let mut verdicts = BTreeMap::new();
    let mut holders: BTreeMap<usize, usize> = BTreeMap::new();
    for (index, device) in by_name(devices) {
        if let Some(key) = open.get(&device.name)
            && let Some(tty) = claims.candidates(index).find(|tty| scan.ttys[*tty].key == *key)
            && !holders.contains_key(&tty)
        {
            holders.insert(tty, index);
        }
    }
    for (index, device) in by_name(devices) {
        let verdict = match holders.iter().find(|(_, holder)| **holder == index) {
            Some((tty, _)) => claims.staying(index, *tty, &holders),
            None => match claims.fresh(index) {
                Verdict::Bound { tty, .. } if holders.contains_key(&tty) => Verdict::Absent {
                    reason: "Taken",
                    message: explain::open_elsewhere(
                        &scan.ttys[tty],
                        &devices[holders[&tty]].name,
                        &device.name,
                    ),
                },
                verdict => verdict,
            },
        };
        verdicts.insert(device.name.clone(), verdict.bounded());
    }
    verdicts
}

/// What to write for a string from hardware in a `match`, at most `max` characters: the string itself, or the
/// beginning of it that the grammar allows, with a `*`.
pub fn pattern(text: &str, max: usize) -> Option<String> {
    criteria::pattern(text, max)
}

/// Whether all given fields of a `match` hold for a tty, wherever that is.
pub fn satisfied(matcher: &Match, tty: &SerialTty) -> bool {
    criteria::satisfied(matcher, tty)
}

/// The list of what is present for the node's report: every tty, and USB devices without one that a device of the
/// fleet waits for. Above the report's limit, what the fleet does not use goes first.
pub fn present(
    devices: &[ResolvedDevice],
    node: &str,
    scan: &Scan,
    verdicts: &BTreeMap<String, Verdict>,
) -> Vec<PresentDevice> {
    let mut matched: BTreeMap<usize, &str> = BTreeMap::new();
    for (name, verdict) in verdicts {
        if let Verdict::Bound { tty, .. } = verdict {
            matched.insert(*tty, name);
        }
    }
    let ttys = scan.ttys.iter().enumerate().map(|(index, tty)| tty.to_present(matched.get(&index).copied()));
    let by_name = by_name(devices);
    let waiting = scan.without_tty.iter().filter_map(|usb| {
        let (_, device) = by_name.iter().find(|(_, device)| {
            criteria::expected_on(device, node) && criteria::satisfied_but_for_tty(&device.matcher, usb)
        })?;
        Some(usb.to_present(Some(&device.name)))
    });
    let mut present: Vec<PresentDevice> = ttys.chain(waiting).collect();
    let mut spare = present.len().saturating_sub(MAX_DEVICES);
    for index in (0..present.len()).rev() {
        if spare > 0 && present[index].matched_by.is_none() {
            present.remove(index);
            spare -= 1;
        }
    }
    present.truncate(MAX_DEVICES);
    present
}

/// Who claims what, whatever is open.
struct Claims<'a> {
    devices: &'a [ResolvedDevice],
    node: &'a str,
    scan: &'a Scan,
    /// Indices of the ttys in the order of their names: the order of the scan must not decide anything.
    order: Vec<usize>,
    /// For each tty, each device that it satisfies. A console is nobody's.
    strengths: Vec<BTreeMap<usize, Strength>>,
    /// For each tty, the devices with the strongest claim on it, in the order of their names.
    owners: Vec<Vec<usize>>,
}

impl<'a> Claims<'a> {
    fn new(devices: &'a [ResolvedDevice], node: &'a str, scan: &'a Scan) -> Self {
        let strengths: Vec<BTreeMap<usize, Strength>> = scan
            .ttys
            .iter()
            .map(|tty| {
                devices
                    .iter()
                    .enumerate()
                    .filter(|(_, device)| !tty.console && criteria::expected_on(device, node))
                    .filter(|(_, device)| criteria::satisfied(&device.matcher, tty))
                    .map(|(index, device)| (index, criteria::strength(&device.matcher, tty)))
                    .collect()
            })
            .collect();
        let mut order: Vec<usize> = (0..scan.ttys.len()).collect();
        order.sort_by_cached_key(|tty| scan.ttys[*tty].order());
        let owners = strengths
            .iter()
            .map(|claims| {
                let strongest = claims.values().max();
                let strong = claims.iter().filter(|(_, strength)| Some(*strength) == strongest);
                let mut owners: Vec<usize> = strong.map(|(index, _)| *index).collect();
                owners.sort_by_key(|index| &devices[*index].name);
                owners
            })
            .collect();
        Self { devices, node, scan, order, strengths, owners }
    }

    /// Names of the devices with the strongest claim on any of these ttys, but for one device.
    fn rivals(&self, ttys: &[usize], but: usize) -> Vec<&'a str> {
        let mut is_rival = vec![false; self.devices.len()];
        for owner in ttys.iter().flat_map(|tty| &self.owners[*tty]) {
            is_rival[*owner] = *owner != but;
        }
        by_name(self.devices)
            .into_iter()
            .filter(|(index, _)| is_rival[*index])
            .map(|(_, device)| device.name.as_str())
            .collect()
    }

    /// The ttys that satisfy a device.
    fn candidates(&self, device: usize) -> impl Iterator<Item = usize> + '_ {
        self.order.iter().copied().filter(move |tty| self.strengths[*tty].contains_key(&device))
    }

    /// The ttys that satisfy a device and on which no other has a stronger claim.
    fn eligible(&self, device: usize) -> Vec<usize> {
        self.candidates(device).filter(|tty| self.owners[*tty].contains(&device)).collect()
    }

    fn fresh(&self, index: usize) -> Verdict {
        let device = &self.devices[index];
        let eligible = self.eligible(index);
        let rivals = self.rivals(&eligible, index);
        match eligible[..] {
            [] => self.absent(index),
            [tty] if rivals.is_empty() => Verdict::Bound { tty, also: Vec::new(), warning: String::new() },
            [tty] => {
                Verdict::Ambiguous { message: explain::tie(&self.scan.ttys[tty], &device.name, &rivals) }
            }
            _ => {
                let ttys: Vec<_> = eligible.iter().map(|tty| &self.scan.ttys[*tty]).collect();
                Verdict::Ambiguous { message: explain::several(&device.matcher, &ttys, &rivals) }
            }
        }
    }

    /// Nothing is left for the device: the most helpful reason.
    fn absent(&self, index: usize) -> Verdict {
        let device = &self.devices[index];
        let matcher = &device.matcher;
        let absent = |reason, message| Verdict::Absent { reason, message };
        if !criteria::expected_on(device, self.node) {
            return absent("", explain::other_nodes());
        }
        let mut ttys = self.order.iter().map(|tty| &self.scan.ttys[*tty]);
        if let Some(console) = ttys.find(|tty| tty.console && criteria::satisfied(matcher, tty)) {
            return Verdict::Denied { message: explain::console(console) };
        }
        let without_driver = |usb: &&_| criteria::satisfied_but_for_tty(matcher, usb);
        if let Some(usb) = self.scan.without_tty.iter().find(without_driver) {
            return absent("NoDriver", explain::no_driver(usb));
        }
        if let Some(tty) = self.candidates(index).next() {
            let names = self.rivals(&[tty], index);
            return absent("Taken", explain::taken(&self.scan.ttys[tty], &names));
        }
        // What another device of the fleet is meant for is no near miss of this one.
        let unclaimed = self.order.iter().filter(|tty| self.strengths[**tty].is_empty());
        let unclaimed = unclaimed.map(|tty| &self.scan.ttys[*tty]);
        match explain::near_miss(matcher, unclaimed) {
            Some(message) => absent("NearMiss", message),
            None => absent("", explain::nothing(matcher, self.scan)),
        }
    }

    /// The verdict on a device whose open tty still matches.
    fn staying(&self, index: usize, tty: usize, holders: &BTreeMap<usize, usize>) -> Verdict {
        let further: Vec<_> = self
            .eligible(index)
            .into_iter()
            .filter(|other| *other != tty && !holders.contains_key(other))
            .map(|other| &self.scan.ttys[other])
            .collect();
        let rivals = self.rivals(&[tty], index);
        let warning = explain::staying(&self.devices[index].matcher, &self.scan.ttys[tty], &further, &rivals);
        Verdict::Bound { tty, also: further.iter().map(|tty| tty.name.clone()).collect(), warning }
    }
}

/// Devices in the order of their names: the order of the spec must not decide anything.
fn by_name(devices: &[ResolvedDevice]) -> Vec<(usize, &ResolvedDevice)> {
    let mut sorted: Vec<_> = devices.iter().enumerate().collect();
    sorted.sort_by_key(|(_, device)| &device.name);
    sorted
}

/// Longest message of a port in a SerialNode, in bytes.
const MAX_SENTENCE: usize = 512;
