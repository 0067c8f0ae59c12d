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
    let mut rows = vec![["NAME", "STATE", "TTY", "BAUD", "LISTENS", "CLIENTS", "MESSAGE"].map(str::to_owned)];
    rows.extend(ports.iter().map(|port| {
        [
            text(&port["name"]),
            text(&port["state"]),
            text(&port["tty"]),
            port["baudRate"].as_i64().map(|baud| baud.to_string()).unwrap_or_default(),
            list(&port["addresses"], &text),
            list(&port["clients"], &|client| text(&client["peer"])),
            text(&port["message"]),
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
