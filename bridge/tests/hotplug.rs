//! From a kernel event to the word that it is time to scan.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test: also in its helpers")]

use std::{fs, time::Duration};

use serialfleet_bridge::discovery::{hotplug::Hotplug, sysfs::scan};
use serialfleet_sim::{
    Host, Scene, StickSpec, namespace,
    uevent::{Injector, Uevent, recorded},
};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(10);

/// Waits for scans until one finds that many ttys.
async fn until_ttys(hotplug: &mut Hotplug, host: &Host, wanted: usize) {
    timeout(SOON, async {
        while scan(host.sysfs_root()).unwrap().ttys.len() != wanted {
            hotplug.changed().await;
        }
    })
    .await
    .expect("a scan that finds it");
}

#[tokio::test]
async fn a_plugged_stick_is_seen_and_an_unplugged_one_missed() {
    if !namespace::enter("a_plugged_stick_is_seen_and_an_unplugged_one_missed") {
        return;
    }
    let host = Host::new().unwrap().with_uevents().unwrap();
    // Only uevents: the directory of nodes is another one.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut hotplug = Hotplug::new(elsewhere.path());
    let quad = host.plug(StickSpec::new(Scene::Ftdi4)).unwrap();
    until_ttys(&mut hotplug, &host, 4).await;
    let plain = host.plug(StickSpec::new(Scene::Ch340).usb_path("1-2")).unwrap();
    until_ttys(&mut hotplug, &host, 5).await;
    quad.unplug().unwrap();
    until_ttys(&mut hotplug, &host, 1).await;
    plain.unplug().unwrap();
    until_ttys(&mut hotplug, &host, 0).await;
}

#[tokio::test]
async fn without_uevents_the_device_directory_tells() {
    // Sticks of a host without uevents are silent; what else the machine's kernel says is only a hint too many.
    let host = Host::new().unwrap();
    let mut hotplug = Hotplug::new(host.dev_root());
    let stick = host.plug(StickSpec::new(Scene::Ftdi)).unwrap();
    until_ttys(&mut hotplug, &host, 1).await;
    stick.unplug().unwrap();
    until_ttys(&mut hotplug, &host, 0).await;
}

/// The clock moves on only when there is nothing left to do: a slow machine is as fast as any.
#[tokio::test(start_paused = true)]
async fn the_first_event_of_a_burst_is_answered_at_once() {
    if !namespace::enter("the_first_event_of_a_burst_is_answered_at_once") {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let mut hotplug = Hotplug::new(elsewhere.path());
    let mut injector = Injector::open().unwrap();
    let start = Instant::now();
    injector.replay(&recorded("mixed").unwrap()).unwrap();
    hotplug.changed().await;
    // And not at the end of the burst, which is half a second after its last event.
    assert!(start.elapsed() < Duration::from_millis(20), "{:?}", start.elapsed());
    let first = Instant::now();
    timeout(SOON, hotplug.changed()).await.expect("the scan after the burst");
    assert!(first.elapsed() > Duration::from_millis(250), "nothing in between, all were there at the first");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_events_make_a_handful_of_scans() {
    if !namespace::enter("thousands_of_events_make_a_handful_of_scans") {
        return;
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let mut hotplug = Hotplug::new(elsewhere.path());
    let mut injector = Injector::open().unwrap();
    let event = |number: usize| Uevent {
        action: "add".into(),
        devpath: format!("/devices/x/tty/ttyUSB{number}"),
        properties: vec![("SUBSYSTEM".into(), "tty".into())],
    };
    injector.replay(&(0..3000).map(event).collect::<Vec<_>>()).unwrap();
    let start = Instant::now();
    let mut scans = 0;
    // Longer than the pause that ends a burst: then there is silence.
    while timeout(Duration::from_secs(1), hotplug.changed()).await.is_ok() {
        scans += 1;
    }
    assert!((2..=10).contains(&scans), "{scans} scans in {:?}", start.elapsed());
    injector.send(&event(0)).unwrap();
    timeout(SOON, hotplug.changed()).await.expect("it listens still");
}

#[tokio::test]
async fn giving_up_waiting_loses_no_event() {
    let nodes = tempfile::tempdir().unwrap();
    let mut hotplug = Hotplug::new(nodes.path());
    for number in 0..20 {
        fs::write(nodes.path().join(format!("ttyUSB{number}")), "").unwrap();
        // As a loop with other work does: the future is dropped at any point.
        drop(timeout(Duration::ZERO, hotplug.changed()).await);
    }
    timeout(SOON, hotplug.changed()).await.expect("at the latest the scan after the burst");
}

#[tokio::test(start_paused = true)]
async fn the_timer_remains_when_nothing_happens() {
    if !namespace::enter("the_timer_remains_when_nothing_happens") {
        return;
    }
    let mut hotplug = Hotplug::new(std::path::Path::new("/nonexistent"));
    for _ in 0..3 {
        let start = Instant::now();
        hotplug.changed().await;
        let elapsed = start.elapsed();
        assert!((Duration::from_secs(40)..=Duration::from_secs(50)).contains(&elapsed), "{elapsed:?}");
    }
}
