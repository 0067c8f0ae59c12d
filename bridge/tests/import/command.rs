//! The command: files, links and sysfs on a machine, streams and exit codes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serialfleet_api::manifest::read_fleet;
use serialfleet_sim::{Host, Scene, StickSpec};

/// Runs `import` in that directory, away from what is really plugged in.
fn import(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serialfleet-bridge"));
    command.arg("import").current_dir(directory).env_clear().args(arguments);
    if !arguments.contains(&"--sysfs-root") {
        command.args(["--sysfs-root", "/nowhere", "--dev-root", "/nowhere"]);
    }
    command.output().unwrap()
}

const STICK: &str =
    "connection: &zigbee\n  accepter: tcp,6639\n  connector: serialdev,DEVNODE,115200n81,local\n";

#[test]
fn a_machine_s_configuration_names_what_is_plugged_in() {
    let host = Host::new().unwrap();
    let stick = host.plug(StickSpec::new(Scene::Ftdi).serial_number("A9XK1PQD")).unwrap();
    let _z_wave = host.plug(StickSpec::new(Scene::CdcAcm).usb_path("1-2")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let links = host.dev_root().join("serial/by-id");
    fs::create_dir_all(&links).unwrap();
    symlink(format!("../../{}", stick.name(0).unwrap()), links.join("usb-mine")).unwrap();
    fs::create_dir(directory.path().join("more.d")).unwrap();
    let connection = |name: &str, port: u16, device: &str| {
        format!(
            "connection: &{name}\n  accepter: tcp,{port}\n  connector: serialdev,{device},9600n81,local\n"
        )
    };
    let main = format!(
        "%YAML 1.1\n---\n{}include: more.d/*.yaml\n",
        connection("linked", 6001, "/dev/serial/by-id/usb-mine")
    );
    fs::write(directory.path().join("ser2net.yaml"), main).unwrap();
    let more = connection("zwave", 6002, "/dev/serial/by-id/usb-0658_0200-if00");
    fs::write(directory.path().join("more.d/10.yaml"), more).unwrap();
    fs::write(directory.path().join("more.d/20.bak"), connection("not", 6003, "/dev/ttyUSB0")).unwrap();
    let (sysfs, dev) = (host.sysfs_root().to_str().unwrap(), host.dev_root().to_str().unwrap());
    let output = import(
        directory.path(),
        &["ser2net.yaml", "--name", "shed", "--node", "wyse-1", "--sysfs-root", sysfs, "--dev-root", dev],
    );
    let (out, remarks) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}{remarks}");
    assert!(remarks.ends_with("2 imported, 0 left out\n"), "{remarks}");
    let fleet = read_fleet(&out).unwrap();
    assert_eq!(fleet.metadata.name.as_deref(), Some("shed"));
    let [linked, z_wave] = &fleet.spec.devices[..] else { panic!("{out}") };
    assert_eq!(linked.matcher.usb.as_deref(), Some("0403:6001"));
    assert_eq!(linked.matcher.serial_number.as_deref(), Some("A9XK1PQD"));
    assert_eq!(z_wave.matcher.usb.as_deref(), Some("0658:0200"));
    // It has no number of its own: another one of its kind, elsewhere, is not taken for it.
    assert_eq!(z_wave.matcher.nodes, ["wyse-1"]);
    assert!(z_wave.matcher.usb_path.as_deref().is_some_and(|path| path.ends_with("usb-2")), "{z_wave:?}");
}

#[test]
fn exit_codes_tell_whether_something_was_imported() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
    write("10c4:ea60.yaml", STICK.as_bytes());
    write(
        "elsewhere.yaml",
        b"connection: &a\n  accepter: tcp,6001\n  connector: serialdev,/dev/ttyUSB0,9600n81\n",
    );
    write("empty.conf", b"");
    write("noise.yaml", &[0xff, 0, 0x80, b'\n', b'&', b'*', b'[']);
    for (arguments, code, on_stderr) in [
        (&["10c4:ea60.yaml"][..], 0, "1 imported, 0 left out"),
        (&["10c4:ea60.yaml", "gone.yaml", "noise.yaml"], 0, "gone.yaml: not read"),
        (&["elsewhere.yaml"], 64, "0 imported, 1 left out"),
        (&["empty.conf", "noise.yaml"], 64, "no connection of ser2net found"),
        (&["gone.yaml"], 64, "gone.yaml: not read"),
        (&["10c4:ea60.yaml", "--name", "No"], 64, "--name"),
        (&[], 64, "FILE"),
    ] {
        let output = import(directory.path(), arguments);
        let remarks = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {remarks}");
        assert!(remarks.contains(on_stderr), "{arguments:?}: {remarks}");
    }
}
