//! A browser without a window, told what to do over its debugging pipe: JSON messages that end with a zero byte.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for an answer of the browser: it may have to start on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// The browser on this machine, if there is one.
pub(crate) fn find() -> Option<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    path.split(':')
        .flat_map(|directory| names.map(|name| format!("{directory}/{name}")))
        .find(|it| Path::new(it).is_file())
}

pub(crate) struct Browser {
    process: Child,
    requests: File,
    messages: Receiver<Value>,
    number: u64,
    /// Errors and warnings of pages.
    pub(crate) complaints: Vec<String>,
    /// Every address that was asked for.
    pub(crate) fetched: Vec<String>,
    _profile: TempDir,
}

/// A page that is open.
pub(crate) struct Tab {
    target: String,
    session: String,
}

impl Browser {
    pub(crate) fn start(program: &str) -> Self {
        let profile = TempDir::new().unwrap();
        let pipe = |name: &str| {
            let path = profile.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (requests, answers) = (pipe("requests"), pipe("answers"));
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ];
        // The browser speaks on descriptors 3 and 4.
        let process = Command::new("sh")
            .args(["-c", r#"in=$1 out=$2; shift 2; exec "$@" 3<"$in" 4>"$out""#, "sh"])
            .args([&requests, &answers])
            .arg(program)
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the order in which the shell opens the other ends.
        let requests = OpenOptions::new().write(true).open(requests).unwrap();
        let answers = File::open(answers).unwrap();
        let (send, messages) = sync_channel(1024);
        thread::spawn(move || {
            for message in BufReader::new(answers).split(0) {
                let Some(message) = message.ok().and_then(|it| serde_json::from_slice(&it).ok()) else {
                    return;
                };
                if send.send(message).is_err() {
                    return;
                }
            }
        });
        let (complaints, fetched) = (Vec::new(), Vec::new());
        Self { process, requests, messages, number: 0, complaints, fetched, _profile: profile }
    }

    /// Opens a page on a screen of this width, height and scale, and waits until it is there.
    pub(crate) fn open(&mut self, url: &str, screen: (u32, u32, f64, bool), scheme: &str) -> Tab {
        let (width, height, scale, mobile) = screen;
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let target = target["targetId"].as_str().unwrap().to_owned();
        let session = self.call(None, "Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        let tab = Tab { target, session: session["sessionId"].as_str().unwrap().to_owned() };
        for domain in ["Page.enable", "Log.enable", "Runtime.enable", "Network.enable"] {
            self.call(Some(&tab), domain, json!({}));
        }
        self.call(
            Some(&tab),
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile}),
        );
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call(Some(&tab), "Emulation.setEmulatedMedia", features);
        self.call(Some(&tab), "Page.navigate", json!({"url": url}));
        while self.next()["method"] != "Page.loadEventFired" {}
        tab
    }

    /// What an expression comes to.
    pub(crate) fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let result = self.call(Some(tab), "Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{result}");
        result["result"]["value"].clone()
    }

    /// The whole page as PNG.
    pub(crate) fn screenshot(&mut self, tab: &Tab) -> Vec<u8> {
        let parameters = json!({"captureBeyondViewport": true});
        let result = self.call(Some(tab), "Page.captureScreenshot", parameters);
        base64(result["data"].as_str().unwrap())
    }

    pub(crate) fn close(&mut self, tab: &Tab) {
        self.call(None, "Target.closeTarget", json!({"targetId": tab.target}));
    }

    fn call(&mut self, tab: Option<&Tab>, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({"id": number, "method": method, "params": parameters});
        if let Some(tab) = tab {
            message["sessionId"] = json!(tab.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.requests.write_all(&bytes).unwrap();
        loop {
            let mut answer = self.next();
            if answer["id"] == number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    fn next(&mut self) -> Value {
        let message = self.messages.recv_timeout(PATIENCE).expect("the browser says nothing more");
        let about = &message["params"];
        match message["method"].as_str() {
            Some("Log.entryAdded") => self.complaints.push(about["entry"].to_string()),
            Some("Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Page.javascriptDialogOpening") => {
                self.complaints.push(about.to_string());
            }
            Some("Network.requestWillBeSent") => {
                self.fetched.push(about["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => {}
        }
        message
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers end with it.
        self.process.kill().unwrap_or_default();
        self.process.wait().map(drop).unwrap_or_default();
    }
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}
