//! One HTTP request and its answer: enough for two servers on the loopback interface. Version 1.0, so that the answer
//! ends with the connection and is never chunked.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

pub(super) async fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    exchange(server, format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n")).await
}

pub(super) async fn post(server: SocketAddr, path: &str, json: &str) -> Result<Answer> {
    let length = json.len();
    let head = format!("POST {path} HTTP/1.0\r\nHost: {server}\r\nContent-Type: application/json");
    exchange(server, format!("{head}\r\nContent-Length: {length}\r\n\r\n{json}")).await
}

async fn exchange(server: SocketAddr, request: String) -> Result<Answer> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let line = request.lines().next().unwrap_or_default();
    let answer = timeout(PATIENCE, exchange)
        .await
        .with_context(|| format!("{server} does not answer {line}"))?
        .with_context(|| format!("{server}: {line}"))?;
    read(&answer).with_context(|| format!("{server} answers {line} with no HTTP"))
}

fn read(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer = read("HTTP/1.0 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nno\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "no\n"));
        assert!(read("HTTP/1.0 200 OK\r\n").is_none() && read("hello\r\n\r\n").is_none());
    }
}
