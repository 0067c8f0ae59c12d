//! The program itself: what it prints for a captured request, with which exit code, and that `serve` has its debug page.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;

fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_serialfleet-hook"));
    program.env_clear().stdin(Stdio::null());
    program
}

fn recorded(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case).join("request.json")
}

fn run(arguments: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who does not read its input is gone before all is written.
    child.stdin.take().unwrap().write_all(input).unwrap_or_default();
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn each_question_about_a_captured_request_has_an_answer_and_an_exit_code() {
    let moved = recorded("moved");
    let (moved, body) = (moved.to_str().unwrap(), std::fs::read(&moved).unwrap());
    let sick = String::from_utf8(body.clone()).unwrap().replace("InPlace", "OnDelete");
    for (arguments, input, code, says) in [
        (&["diff", moved][..], &body[..], 1, "the device moved from wyse-1 to wyse-2"),
        (&["diff", "-"], &body, 1, "    - \"wyse-1\"\n    + \"wyse-2\"\n"),
        (&["explain", moved, "zigbee"], &body, 0, "Serving on wyse-2"),
        (&["explain", "-", "zwave"], &body, 0, "zwave of fleet home"),
        (&["doctor", moved], &body, 0, "nothing is wrong"),
        (&["doctor", "-"], sick.as_bytes(), 1, "set it to InPlace"),
    ] {
        let (found, out, err) = run(arguments, input);
        assert_eq!((found, err.as_str()), (code, ""), "{arguments:?}: {out}");
        assert!(out.contains(says), "{arguments:?}: {out}");
    }
    let nodeless = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/home.yaml");
    for (arguments, input, says) in [
        (&["diff", "-"][..], &b"hello"[..], "no hook request"),
        (&["diff", "/nowhere.json"], b"", "/nowhere.json"),
        (&["diff", moved, "--answer", "-"], b"[1", "request.json with -: the answer cannot be read"),
        (&["explain", "-", "none"], &body, "it has zigbee, zwave"),
        (&["doctor", "-"], b"kind: Pod", "no CompositeController"),
        (&["render", nodeless, "--nodes", "-"], b"kind: Pod", "give what kubectl get sn -o yaml prints"),
        (&["serve", "--bridge-image", "x", "--debug-listen", "there"], b"", "or off"),
    ] {
        let (code, out, err) = run(arguments, input);
        assert_eq!((code, out.as_str()), (64, ""), "{arguments:?}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
}

#[test]
fn under_server_side_apply_only_what_is_named_counts() {
    // It leaves no annotation; of the recorded fleet, all that is named but one endpoint is as it should be.
    let mut request: Value = serde_json::from_slice(&std::fs::read(recorded("served")).unwrap()).unwrap();
    for objects in request["children"].as_object_mut().unwrap().values_mut() {
        for child in objects.as_object_mut().unwrap().values_mut() {
            child["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .remove("metacontroller.k8s.io/last-applied-configuration");
        }
    }
    let (_, answer, _) = run(&["diff", "-"], request.to_string().as_bytes());
    assert!(answer.starts_with("fleet home: 1 of 7 children are written"), "{answer}");
    assert!(answer.contains("served now, from wyse-1"), "{answer}");
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().map(drop).unwrap_or_default();
    }
}

fn http(address: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_synced_is_to_be_seen_on_the_debug_page_the_log_and_the_metrics() {
    let mut server = Server(
        program()
            .args(["serve", "--listen", "127.0.0.1:0", "--debug-listen", "127.0.0.1:0"])
            .args(["--bridge-image", "example/serialfleet:test"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut log = BufReader::new(server.0.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let mut line = |about: &str| -> Value {
        let line = log.find(|it| it.contains(about)).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let listening = line("listening");
    let address = |name: &str| listening[name].as_str().unwrap().to_owned();
    let (hooks, debug) = (address("address"), address("debug"));
    let answer = http(&hooks, "POST /sync", &std::fs::read(recorded("moved")).unwrap());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Worked out after the answer, by a thread of its own.
    let predicted = line("predicted");
    assert_eq!((&predicted["fleet"], &predicted["children_changed"]), (&"home".into(), &7.into()));
    let page = http(&debug, "GET /debug", b"");
    assert!(page.contains("the device moved from wyse-1 to wyse-2") && page.contains("</html>"), "{page}");
    let text = http(&hooks, "GET /metrics", b"");
    let counted = r#"serialfleet_predicted_changes_total{kind="EndpointSlice",action="Update"} 2"#;
    assert!(text.contains(counted), "{text}");
}
