//! The flags of Metacontroller, in the spelling of Go's `flag` package: `-name value`, `--name=value`, a bare name for
//! a boolean. Pure. What has no meaning here is accepted, so that the same manifest starts both.

use std::time::Duration;

use crate::duration;

/// How children are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyStrategy {
    /// Three-way merge and PUT.
    #[default]
    Dynamic,
    /// Server-side apply.
    ServerSide,
}

/// What the flags decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Args {
    /// Kubeconfig file; none: `KUBECONFIG`, `~/.kube/config` or the pod's own account.
    pub kubeconfig: Option<String>,
    /// How often the server's kinds are looked up.
    pub discovery_interval: Duration,
    /// How often every parent is synced without any event.
    pub cache_flush_interval: Duration,
    /// Address of `/metrics`; none: not served.
    pub metrics_address: Option<String>,
    /// Address of `/healthz` and `/readyz`; none: not served.
    pub health_address: Option<String>,
    /// Requests per second to the API server.
    pub qps: f64,
    /// Requests at once.
    pub burst: u32,
    /// Syncs at once for each CompositeController.
    pub workers: usize,
    /// Events per second and object.
    pub events_qps: f64,
    /// Events at once for an object.
    pub events_burst: u32,
    /// How children are written.
    pub apply_strategy: ApplyStrategy,
    /// Field manager of server-side apply.
    pub field_manager: String,
    /// Filter for the log: `error`, `info`, `debug` or `trace`.
    pub log: &'static str,
    /// Flags that were accepted and do nothing here.
    pub ignored: Vec<String>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            discovery_interval: Duration::from_secs(30),
            cache_flush_interval: Duration::from_secs(30 * 60),
            metrics_address: Some("[::]:9999".to_owned()),
            health_address: Some("[::]:8081".to_owned()),
            qps: 5.0,
            burst: 10,
            workers: 5,
            events_qps: 1.0 / 300.0,
            events_burst: 25,
            apply_strategy: ApplyStrategy::Dynamic,
            field_manager: "metacontroller".to_owned(),
            log: "info",
            ignored: Vec::new(),
        }
    }
}

const BOOLEAN: [&str; 2] = ["leader-election", "zap-devel"];
const IGNORED: [&str; 8] = [
    "leader-election",
    "leader-election-id",
    "leader-election-namespace",
    "leader-election-resource-lock",
    "pprof-address",
    "zap-devel",
    "zap-encoder",
    "zap-stacktrace-level",
];

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// If a flag is unknown or its value is none.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let Some(flag) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
                return Err(format!("{arg:?} is no flag"));
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if BOOLEAN.contains(&flag) => (flag, "true".to_owned()),
                None => (flag, args.next().ok_or_else(|| format!("flag needs an argument: -{flag}"))?),
            };
            parsed
                .set(name, value.clone())
                .map_err(|problem| format!("invalid value {value:?} for flag -{name}: {problem}"))?;
        }
        Ok(parsed)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "kubeconfig" => self.kubeconfig = Some(value).filter(|path| !path.is_empty()),
            "discovery-interval" => self.discovery_interval = interval(&value)?,
            "cache-flush-interval" => self.cache_flush_interval = interval(&value)?,
            "metrics-address" => self.metrics_address = address(&value),
            "health-probe-bind-address" => self.health_address = address(&value),
            "client-go-qps" => self.qps = number(&value)?,
            "client-go-burst" => self.burst = number(&value)?,
            "workers" => self.workers = number(&value)?,
            "events-qps" => self.events_qps = number(&value)?,
            "events-burst" => self.events_burst = number(&value)?,
            "apply-strategy" => {
                self.apply_strategy = match value.as_str() {
                    "" | "dynamic-apply" => ApplyStrategy::Dynamic,
                    "server-side-apply" => ApplyStrategy::ServerSide,
                    _ => return Err("unknown apply strategy".to_owned()),
                }
            }
            "apply-strategy-ssa-field-manager" => self.field_manager = value,
            "zap-log-level" => {
                self.log = match value.as_str() {
                    "error" | "panic" => "error",
                    "debug" => "debug",
                    level if level.parse::<u8>().is_ok_and(|level| level >= 5) => "trace",
                    level if level.parse::<u8>().is_ok() => "debug",
                    _ => "info",
                }
            }
            "target-label-selector" if value.is_empty() => {}
            "target-label-selector" => return Err("this stand-in serves all controllers".to_owned()),
            name if IGNORED.contains(&name) => self.ignored.push(format!("--{name}={value}")),
            _ => return Err("flag provided but not defined".to_owned()),
        }
        Ok(())
    }
}

fn interval(value: &str) -> Result<Duration, String> {
    duration::parse(value).filter(|it| !it.is_zero()).ok_or_else(|| "it is no duration above zero".to_owned())
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| "it is no such number".to_owned())
}

/// Go listens on every address, of both families, where none is given.
fn address(value: &str) -> Option<String> {
    match value {
        "" | "0" => None,
        value if value.starts_with(':') => Some(format!("[::]{value}")),
        value => Some(value.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn both_spellings_of_a_flag_are_understood() {
        let expected = Args { workers: 10, qps: 50.0, burst: 100, ..Args::default() };
        assert_eq!(parse("--workers=10 --client-go-qps 50 -client-go-burst=100"), Ok(expected.clone()));
        assert_eq!(parse("-workers 10 -client-go-qps=50 --client-go-burst 100"), Ok(expected));
    }

    #[test]
    fn the_flags_of_the_lab() {
        let args = parse(
            "--kubeconfig=/k --discovery-interval=500ms --metrics-address=0 --health-probe-bind-address :1 \
             --apply-strategy server-side-apply --leader-election --leader-election-id=x --zap-log-level=6",
        )
        .unwrap();
        assert_eq!(args.kubeconfig.as_deref(), Some("/k"));
        assert_eq!(args.discovery_interval, Duration::from_millis(500));
        assert_eq!((args.metrics_address, args.health_address.as_deref()), (None, Some("[::]:1")));
        assert_eq!((args.apply_strategy, args.log), (ApplyStrategy::ServerSide, "trace"));
        assert_eq!(args.ignored, ["--leader-election=true", "--leader-election-id=x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, says) in [
            ("--nonsense=1", "-nonsense"),
            ("--workers", "needs an argument"),
            ("--workers=many", "\"many\""),
            ("--discovery-interval=0", "-discovery-interval"),
            ("--apply-strategy=magic", "magic"),
            ("--target-label-selector=a=b", "serves all"),
            ("stray", "stray"),
        ] {
            assert!(parse(line).unwrap_err().contains(says), "{line}");
        }
    }
}
