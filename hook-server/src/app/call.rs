//! One hook call from its headers to its answer: may it come in, is there room, what does it say, has the caller got
//! the answer already. Every call ends in one [`Call`], for the log, the metrics and the witness, also one whose
//! caller went away.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use axum::{
    extract::{Query, Request},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use super::{
    App,
    body::{discard, read},
    failure::Failure,
};
use crate::{
    admission::Slot,
    calls::{Call, Subject, Unchanged},
    customize::{CustomizeRequest, customize},
    etag::{Tag, depends_on_clock},
    metrics::Hook,
    recall::Answered,
    request::SyncRequest,
    sync::respond,
};

/// Bodies from here on are worked on beside the reactors, so that probes are answered meanwhile: below, it is well under
/// a millisecond, and the way to another thread would be a good part of that.
const LARGE_BODY: usize = 512 << 10;
/// Room for what an answer grows by.
const ROOM: usize = 4 << 10;
/// Bodies up to here are recognised on the reactor: well below a millisecond.
const LOOKED_UP: usize = 2 << 20;

/// A call under way. Dropped before its end, the caller went away.
struct Open {
    app: Arc<App>,
    call: Call,
    start: Instant,
    ended: bool,
}

impl Open {
    fn new(app: Arc<App>, hook: Hook) -> Self {
        let call = Call {
            hook,
            code: 200,
            reason: "Answered",
            refusal: None,
            subject: None,
            unchanged: None,
            bytes_in: 0,
            bytes_out: 0,
            time: std::time::Duration::ZERO,
            work: None,
            request: Bytes::new(),
            answer: None,
        };
        Self { app, call, start: Instant::now(), ended: false }
    }

    fn end(&mut self) {
        self.ended = true;
        self.call.time = self.start.elapsed();
        self.app.surface.metrics.called(&self.call);
        self.call.log();
        if let Some(witness) = &self.app.surface.witness {
            witness(&self.call);
        }
    }

    fn fail(&mut self, failure: &Failure) {
        self.call.code = failure.code();
        self.call.reason = failure.reason();
        self.call.refusal = Some(failure.to_string());
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !mem::replace(&mut self.ended, true) {
            self.fail(&Failure::Abandoned);
            self.end();
        }
    }
}

/// Answers a call.
pub(super) async fn call(app: Arc<App>, hook: Hook, request: Request) -> Response {
    let mut open = Open::new(Arc::clone(&app), hook);
    let result = answer(&app, &mut open, request).await;
    let response = match result {
        Ok(Answer { bytes, tag }) => {
            let mut response = match bytes {
                Some(bytes) => {
                    open.call.bytes_out = bytes.len();
                    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
                }
                None => {
                    open.call.code = 304;
                    StatusCode::NOT_MODIFIED.into_response()
                }
            };
            if let Some(tag) = tag.as_ref().and_then(Tag::header) {
                response.headers_mut().insert(header::ETAG, tag);
            }
            response
        }
        Err(failure) => {
            open.fail(&failure);
            failure.response()
        }
    };
    open.end();
    response
}

/// What goes out: nothing where the caller has it.
struct Answer {
    bytes: Option<Bytes>,
    tag: Option<Tag>,
}

async fn answer(app: &Arc<App>, open: &mut Open, request: Request) -> Result<Answer, Failure> {
    let deadline = tokio::time::Instant::now() + app.surface.limits.call_timeout;
    let (parts, mut body) = request.into_parts();
    let admitted = match may_come_in(app, &parts) {
        Ok(()) => app.admission.enter().ok_or(Failure::TooMany),
        Err(failure) => Err(failure),
    };
    let whole = match admitted {
        Ok(mut slot) => {
            let read = read(&mut body, app.surface.limits.max_body_bytes, &mut slot, deadline).await;
            read.map(|whole| (whole, slot))
        }
        Err(failure) => Err(failure),
    };
    let (whole, slot) = match whole {
        Ok(whole) => whole,
        Err(failure) => {
            if !matches!(failure, Failure::Slow | Failure::Body(_)) {
                discard(&mut body, &parts.headers).await;
            }
            return Err(failure);
        }
    };
    open.call.bytes_in = whole.len();
    open.call.request = whole.clone();
    let start = Instant::now();
    let answer = finish(app, open, &parts.headers, whole, slot, deadline).await;
    open.call.work = Some(start.elapsed());
    answer
}

fn may_come_in(app: &App, parts: &Parts) -> Result<(), Failure> {
    let surface = &app.surface;
    surface.access.check(&parts.headers, &parts.extensions)?;
    same_revision(surface.limits.rev.as_deref(), &parts.uri)?;
    // Whatever the Content-Type says: `curl -d @request.json` replays a captured request.
    let encoding =
        parts.headers.get(header::CONTENT_ENCODING).map(|it| String::from_utf8_lossy(it.as_bytes()));
    match encoding {
        Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
            Err(Failure::Encoded(encoding.chars().take(64).collect()))
        }
        _ => Ok(()),
    }
}

async fn finish(
    app: &Arc<App>,
    open: &mut Open,
    headers: &HeaderMap,
    body: Bytes,
    slot: Slot,
    deadline: tokio::time::Instant,
) -> Result<Answer, Failure> {
    let hook = open.call.hook;
    let same = if body.len() < LOOKED_UP {
        app.recall.same(hook, &body)
    } else {
        let (app, body) = (Arc::clone(app), body.clone());
        beside(deadline, move || app.recall.same(hook, &body)).await?
    };
    if let Some(same) = same
        && let Some(tag) = same.tag.as_ref().filter(|tag| tag.is_known(headers))
    {
        open.call.subject = Some(Arc::clone(&same.subject));
        open.call.unchanged = Some(Unchanged::Request);
        return Ok(Answer { bytes: None, tag: Some(tag.clone()) });
    }
    let large = body.len() >= LARGE_BODY;
    let work = {
        let app = Arc::clone(app);
        move || {
            let worked = catch_unwind(AssertUnwindSafe(|| work(&app, hook, &body)));
            let worked = worked.unwrap_or(Err(Failure::Panic));
            let worked = worked.map_err(|failure| (failure, Subject::of_body(&body).map(Arc::new)));
            // Until here, also where nobody waits for the answer any more.
            drop(slot);
            worked
        }
    };
    let worked = if large { beside(deadline, work).await? } else { work() };
    let work = worked.map_err(|(failure, subject)| {
        open.call.subject = subject;
        failure
    })?;
    open.call.subject = Some(work.subject);
    open.call.answer = Some(work.bytes.clone());
    let known = work.tag.as_ref().is_some_and(|tag| tag.is_known(headers));
    if known {
        open.call.unchanged = Some(Unchanged::Answer);
    }
    Ok(Answer { bytes: (!known).then_some(work.bytes), tag: work.tag })
}

/// Off the reactor. What is not done in time goes on, but nobody waits for it.
async fn beside<T: Send + 'static>(
    deadline: tokio::time::Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    match timeout_at(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        // The process ends, or is far too busy: either way the next call has better luck.
        _ => Err(Failure::Late),
    }
}

struct Worked {
    bytes: Bytes,
    tag: Option<Tag>,
    subject: Arc<Subject>,
}

fn work(app: &App, hook: Hook, body: &Bytes) -> Result<Worked, Failure> {
    let (answer, subject, lasting, request) = match hook {
        Hook::Sync => {
            let like = app.recall.like(hook, body);
            let request = match like.as_deref().and_then(|it| Some((&it.body, it.request.as_ref()?))) {
                Some((earlier, known)) => SyncRequest::parse_after(body, earlier, known)?,
                None => SyncRequest::parse(body)?,
            };
            let now = (app.surface.clock)();
            let response = respond(&request, &app.surface.config, now);
            let lasting = !depends_on_clock(&response.status, response.resync_after_seconds, now);
            let subject = Subject::of_sync(&request, &response);
            // About as large as the last one.
            let size = like.as_ref().map_or(0, |it| it.answer) + ROOM;
            (written(&response, size)?, subject, lasting, Some(request))
        }
        Hook::Customize => {
            let response = customize(&CustomizeRequest::parse(body)?);
            let desired = response.related_resources.len();
            let subject = Subject { desired, ..Subject::of_body(body).unwrap_or_default() };
            (written(&response, ROOM)?, subject, true, None)
        }
    };
    let (bytes, subject) = (Bytes::from(answer), Arc::new(subject));
    let tag = lasting.then(|| Tag::of(&bytes));
    let answered = Answered {
        hook,
        answer: bytes.len(),
        body: body.clone(),
        request,
        tag: tag.clone(),
        subject: Arc::clone(&subject),
    };
    app.recall.remember(answered);
    Ok(Worked { bytes, tag, subject })
}

fn written(answer: &impl Serialize, size: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(size);
    serde_json::to_writer(&mut bytes, answer).map_err(bug)?;
    Ok(bytes)
}

fn bug(error: serde_json::Error) -> Failure {
    Failure::Bug(error.to_string())
}

#[derive(Deserialize)]
struct Revision {
    rev: Option<String>,
}

/// Two versions behind one URL would undo each other's children, hundreds of times a minute.
fn same_revision(own: Option<&str>, uri: &Uri) -> Result<(), Failure> {
    let Some(own) = own else { return Ok(()) };
    let said = Query::<Revision>::try_from_uri(uri).ok().and_then(|query| query.0.rev);
    match said {
        Some(said) if said == own => Ok(()),
        Some(said) => Err(Failure::OtherRevision(said.chars().take(64).collect())),
        // Not 429: that would be silence for ever.
        None => Err(Failure::NoRevision),
    }
}
