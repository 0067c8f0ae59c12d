//! `ports`: what a running bridge serves, asked from its admin listener.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Asks the bridge at `admin` and lays the answer out, as a table or as the JSON it sent.
///
/// # Errors
/// If no bridge answers there.
pub async fn ports(admin: SocketAddr, json: bool) -> anyhow::Result<String> {
    let stream = TcpStream::connect(admin).await.with_context(|| {
        format!("no bridge answers on {admin}: is it running, and is --admin the address it was given?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/ports").header("host", admin.to_string()).body(Body::empty())?;
    // The connection ends when its sender is dropped, at the end of this block.
    let answer = async move {
        let response = sender.send_request(request).await?;
        ensure!(response.status().is_success(), "{admin} answered {}", response.status());
        Ok(response.into_body().collect().await?.to_bytes())
    };
    let (answer, _) = tokio::join!(answer, connection);
    let body = answer.with_context(|| format!("{admin} is no bridge"))?;
    if json {
        return Ok(String::from_utf8_lossy(&body).into_owned());
    }
    let ports: Vec<Value> = serde_json::from_slice(&body).with_context(|| format!("{admin} is no bridge"))?;
    Ok(table(&ports))
}

fn table(ports: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value, item: &dyn Fn(&Value) -> String| {
        value.as_array().into_iter().flatten().map(item).collect::<Vec<_>>().join(" ")
    };
    let told = |port: &Value| {
        let warnings = port["warnings"].as_array().into_iter().flatten().map(|it| text(&it["message"]));
        let all = [text(&port["message"])].into_iter().chain(warnings).filter(|it| !it.is_empty());
        all.collect::<Vec<_>>().join(" ")
    };
    // What a client has set counts before what the fleet says.
    let baud = |port: &Value| port["overlay"]["baudRate"].as_i64().or_else(|| port["baudRate"].as_i64());
    let mut rows = vec![["NAME", "STATE", "TTY", "BAUD", "LISTENS", "CLIENTS", "MESSAGE"].map(str::to_owned)];
    rows.extend(ports.iter().map(|port| {
        [
            text(&port["name"]),
            text(&port["state"]),
            text(&port["tty"]),
            baud(port).map(|baud| baud.to_string()).unwrap_or_default(),
            list(&port["addresses"], &text),
            list(&port["clients"], &|client| text(&client["peer"])),
            told(port),
        ]
    }));
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{:width$}  ", if cell.is_empty() { "-" } else { cell }));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_shows_the_rate_in_force_and_every_warning() {
        let ports = [
            json!({"name": "zigbee", "state": "Serving", "baudRate": 115_200, "overlay": {"baudRate": 57_600}}),
            json!({"name": "zwave", "state": "Serving", "baudRate": 9600, "message": "", "warnings": [
                {"reason": "OutputStalled", "message": "No byte moves."}, {"reason": "X", "message": "Odd."}]}),
            json!({"name": "meter", "state": "Busy", "message": "In use.", "warnings": [{"message": "Odd."}]}),
        ];
        let lines: Vec<Vec<String>> = table(&ports)
            .lines()
            .map(|line| line.split("  ").map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect())
            .collect();
        assert_eq!(lines[1], ["zigbee", "Serving", "-", "57600", "-", "-", "-"]);
        assert_eq!(lines[2], ["zwave", "Serving", "-", "9600", "-", "-", "No byte moves. Odd."]);
        assert_eq!(lines[3], ["meter", "Busy", "-", "-", "-", "-", "In use. Odd."]);
    }
}
