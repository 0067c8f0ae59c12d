//! A request's body: read whole within limits, or thrown away. Knows nothing of what is in it.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use super::failure::Failure;
use crate::admission::Slot;

/// A body that does not say how long it is has its room extended by this much.
const STEP: usize = 256 << 10;
/// How long the rest of a body that nobody wants is listened to.
const DISCARD: Duration = Duration::from_secs(2);

/// The whole body, no larger than `most`, and for no longer than `until`.
pub(super) async fn read(
    body: &mut Body,
    most: usize,
    slot: &mut Slot,
    until: Instant,
) -> Result<Bytes, Failure> {
    let declared = HttpBody::size_hint(body).exact();
    let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if declared.is_some_and(|bytes| bytes > most) {
        return Err(Failure::TooLarge(most));
    }
    let mut room = declared.unwrap_or(STEP);
    if !slot.reserve(room).await {
        return Err(Failure::NoRoom);
    }
    // One copy, into memory of the right size: the pages are only taken as they are filled.
    let mut whole = Vec::with_capacity(declared.unwrap_or_default());
    loop {
        let frame = match timeout_at(until, body.frame()).await {
            Err(_) => return Err(Failure::Slow),
            Ok(None) => return Ok(Bytes::from(whole)),
            Ok(Some(frame)) => frame.map_err(|error| Failure::Body(error.to_string()))?,
        };
        let Ok(data) = frame.into_data() else { continue };
        let size = whole.len() + data.len();
        if size > most {
            return Err(Failure::TooLarge(most));
        }
        while size > room {
            room += STEP;
            if !slot.reserve(room).await {
                return Err(Failure::NoRoom);
            }
        }
        whole.extend_from_slice(&data);
    }
}

/// Listens to what is left without keeping it. A connection that is closed with bytes unread is reset, and a reset may
/// overtake the answer: Metacontroller would see an error and back off, where it was only told to come again.
pub(super) async fn discard(body: &mut Body, headers: &HeaderMap) {
    // Who asks before sending has sent nothing, and never will.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let until = Instant::now() + DISCARD;
    while let Ok(Some(Ok(_))) = timeout_at(until, body.frame()).await {}
}
