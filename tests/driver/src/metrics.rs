//! Counts of hook calls under the names of Metacontroller's metrics (`pkg/metrics/http.go`). Calls that found nobody
//! are not counted, as there.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Upper ends of the latency buckets (Prometheus' defaults).
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is known of one hook of one controller.
#[derive(Clone, Debug, Default)]
struct Counts {
    by_code: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    seconds: f64,
    in_flight: i64,
}

/// Which hook: its type, the controller's name, its URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hook {
    /// `sync`, `finalize` or `customize`.
    pub kind: &'static str,
    /// Name of the CompositeController.
    pub controller: String,
    /// Where it is.
    pub url: String,
}

impl Hook {
    fn labels(&self) -> (String, String) {
        let before = format!("controller_name={:?},controller_type=\"CompositeController\"", self.controller);
        (before, format!("url={:?}", self.url))
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<Hook, Counts>>>);

impl Metrics {
    /// A call begins.
    pub fn begin(&self, hook: &Hook) {
        self.lock().entry(hook.clone()).or_default().in_flight += 1;
    }

    /// It is over; with a code if there was an answer.
    pub fn end(&self, hook: &Hook, code: Option<u16>, took: Duration) {
        let mut all = self.lock();
        let counts = all.entry(hook.clone()).or_default();
        counts.in_flight -= 1;
        let Some(code) = code else { return };
        *counts.by_code.entry(code).or_default() += 1;
        let seconds = took.as_secs_f64();
        counts.seconds += seconds;
        for (bucket, upper) in counts.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= upper);
        }
    }

    /// As Prometheus reads it.
    pub fn render(&self) -> String {
        let all = self.lock();
        let mut text = String::new();
        for kind in ["customize", "finalize", "sync"] {
            let hooks: Vec<_> = all.iter().filter(|(hook, _)| hook.kind == kind).collect();
            if hooks.is_empty() {
                continue;
            }
            let name = |metric: &str| format!("metacontroller_{kind}_{metric}");
            for (metric, of) in [
                ("requests_total", "counter"),
                ("request_duration_histogram_seconds", "histogram"),
                ("in_flight_requests", "gauge"),
            ] {
                line(&mut text, format_args!("# TYPE {} {of}", name(metric)));
                for (hook, counts) in &hooks {
                    write_counts(&mut text, &name(metric), of, &hook.labels(), counts);
                }
            }
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Hook, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_counts(text: &mut String, name: &str, of: &str, (before, url): &(String, String), counts: &Counts) {
    let total: u64 = counts.by_code.values().sum();
    match of {
        "counter" => {
            for (code, count) in &counts.by_code {
                line(text, format_args!("{name}{{code=\"{code}\",{before},method=\"post\",{url}}} {count}"));
            }
        }
        "histogram" => {
            let labels = format!("{before},method=\"post\",{url}");
            for (upper, count) in BUCKETS.iter().zip(counts.buckets) {
                line(text, format_args!("{name}_bucket{{{labels},le=\"{upper}\"}} {count}"));
            }
            line(text, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {total}"));
            line(text, format_args!("{name}_sum{{{labels}}} {}", counts.seconds));
            line(text, format_args!("{name}_count{{{labels}}} {total}"));
        }
        _ => line(text, format_args!("{name}{{{before},{url}}} {}", counts.in_flight)),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{line}").is_ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_code_under_the_real_names() {
        let metrics = Metrics::default();
        let hook = Hook {
            kind: "sync",
            controller: "serialfleet".to_owned(),
            url: "http://h/sync?rev=1".to_owned(),
        };
        for code in [Some(200), Some(200), Some(429), None] {
            metrics.begin(&hook);
            metrics.end(&hook, code, Duration::from_millis(7));
        }
        let text = metrics.render();
        for line in [
            r#"metacontroller_sync_requests_total{code="200",controller_name="serialfleet",controller_type="CompositeController",method="post",url="http://h/sync?rev=1"} 2"#,
            r#"metacontroller_sync_requests_total{code="429",controller_name="serialfleet",controller_type="CompositeController",method="post",url="http://h/sync?rev=1"} 1"#,
            r#"metacontroller_sync_in_flight_requests{controller_name="serialfleet",controller_type="CompositeController",url="http://h/sync?rev=1"} 0"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line}\n{text}");
        }
        assert!(text.contains("le=\"0.005\"} 0\n") && text.contains("le=\"0.01\"} 3\n"), "{text}");
    }
}
