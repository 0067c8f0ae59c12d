//! What is known of an earlier request makes an answer come sooner and changes none: whatever the fleet was called, and
//! whatever was asked before, with whatever flags.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};
use serialfleet_hook::{config::Config, request::SyncRequest, sync::respond};

use super::{DEVICES, World, bridge, devices, observed, request, spec, world};

#[derive(Clone, Debug)]
struct Step {
    world: World,
    /// Another spec than before, if any.
    spec: Option<(Vec<Value>, Value)>,
    namespace: &'static str,
    fleet: &'static str,
    image: &'static str,
    version: u8,
}

fn step() -> impl Strategy<Value = Step> {
    let names = proptest::sample::select(vec!["home", "home", "home", "shed"]);
    let namespaces = proptest::sample::select(vec!["iot", "iot", "iot", "serialfleet-system", "nowhere"]);
    let images = proptest::sample::select(vec!["a", "a", "b"]);
    let spec = proptest::option::weighted(0.3, (devices(), bridge()));
    (world(DEVICES), spec, namespaces, names, images, any::<u8>()).prop_map(
        |(world, spec, namespace, fleet, image, version)| Step {
            world,
            spec,
            namespace,
            fleet,
            image,
            version,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_changes_no_answer(first in (devices(), bridge()), steps in proptest::collection::vec(step(), 2..8)) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let (mut wish, mut children) = (first, json!({}));
        let mut known: Option<(Vec<u8>, SyncRequest)> = None;
        for step in steps {
            wish = step.spec.unwrap_or(wish);
            let mut body = request(&spec(&wish.0, &wish.1), &step.world, &children);
            body["parent"]["spec"]["serviceNamespace"] = json!(step.namespace);
            body["parent"]["metadata"]["name"] = json!(step.fleet);
            body["parent"]["metadata"]["resourceVersion"] = json!(step.version.to_string());
            let body = body.to_string().into_bytes();
            let config = Config::with_image(step.image);
            let fresh = SyncRequest::parse(&body).unwrap();
            let answer = serde_json::to_string(&respond(&fresh, &config, now)).unwrap();
            let request = match &known {
                None => fresh,
                Some((earlier, known)) => SyncRequest::parse_after(&body, earlier, known).unwrap(),
            };
            for _ in 0..2 {
                prop_assert_eq!(&serde_json::to_string(&respond(&request, &config, now)).unwrap(), &answer);
            }
            children = observed(&serde_json::from_str(&answer).unwrap());
            known = Some((body, request));
        }
    }
}
