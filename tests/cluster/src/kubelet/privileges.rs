//! Security contexts, as what the launcher has to do.
//!
//! Owner: the container's task. Pure.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use rustix::thread::CapabilitySet;

use super::launcher::Privileges;

/// What a container may do, from the pod's security context, its own and the image's user.
///
/// # Errors
/// If it must not run as root and would.
pub(super) fn privileges(pod: &PodSpec, container: &Container, image_user: u32) -> Result<Privileges> {
    let of_pod = pod.security_context.as_ref();
    let own = container.security_context.as_ref();
    let number = |own: Option<i64>, of_pod: Option<i64>, default: u32| {
        own.or(of_pod).and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
    };
    let uid =
        number(own.and_then(|own| own.run_as_user), of_pod.and_then(|of_pod| of_pod.run_as_user), image_user);
    let gid = number(own.and_then(|own| own.run_as_group), of_pod.and_then(|of_pod| of_pod.run_as_group), 0);
    let non_root =
        own.and_then(|own| own.run_as_non_root).or_else(|| of_pod.and_then(|of_pod| of_pod.run_as_non_root));
    ensure!(uid != 0 || non_root != Some(true), "container has runAsNonRoot and image will run as root");

    let extra = of_pod.into_iter().flat_map(|of_pod| of_pod.supplemental_groups.iter().flatten());
    let groups = of_pod.and_then(|of_pod| of_pod.fs_group).into_iter().chain(extra.copied());
    let groups = groups.chain([i64::from(gid)]).filter_map(|group| u32::try_from(group).ok()).collect();

    let privileged = own.and_then(|own| own.privileged) == Some(true);
    let names = |list: Option<&Vec<String>>| -> Vec<String> {
        list.into_iter().flatten().map(|name| name.trim_start_matches("CAP_").to_owned()).collect()
    };
    let asked = own.and_then(|own| own.capabilities.as_ref());
    let (add, drop) = (
        names(asked.and_then(|asked| asked.add.as_ref())),
        names(asked.and_then(|asked| asked.drop.as_ref())),
    );
    let listed = |list: &[String], name: &str| list.iter().any(|entry| entry == name || entry == "ALL");
    let capabilities = CapabilitySet::all()
        .iter_names()
        .map(|(name, _)| name)
        .filter(|name| {
            let usual = RUNTIME_DEFAULT.contains(name) && !listed(&drop, name);
            privileged || usual || listed(&add, name)
        })
        .map(str::to_owned)
        .collect();
    let no_new_privileges = own.and_then(|own| own.allow_privilege_escalation) == Some(false);
    Ok(Privileges { uid, gid, groups, capabilities, no_new_privileges })
}

/// What container runtimes leave to root where nothing is said.
const RUNTIME_DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pod: serde_json::Value, own: serde_json::Value) -> Result<Privileges> {
        let container = serde_json::json!({"name": "c", "securityContext": own});
        let pod = serde_json::json!({"containers": [container], "securityContext": pod});
        privileges(&serde_json::from_value(pod)?, &serde_json::from_value(container)?, 0)
    }

    #[test]
    fn a_restricted_container_gets_nothing() {
        let privileges = of(
            serde_json::json!({"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 7}),
            serde_json::json!({"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": false}),
        )
        .unwrap();
        assert_eq!((privileges.uid, privileges.gid, privileges.no_new_privileges), (65532, 0, true));
        assert_eq!(privileges.groups, [7, 0]);
        assert!(privileges.capabilities.is_empty());
    }

    #[test]
    fn capabilities_are_those_of_a_runtime_and_what_is_added() {
        let of = |own| of(serde_json::json!({}), own).unwrap().capabilities;
        assert_eq!(of(serde_json::json!({})).len(), RUNTIME_DEFAULT.len());
        assert_eq!(
            of(serde_json::json!({"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}})),
            ["SYS_TIME"]
        );
        assert!(of(serde_json::json!({"privileged": true})).contains(&"SYS_ADMIN".to_owned()));
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        of(serde_json::json!({"runAsNonRoot": true}), serde_json::json!({})).unwrap_err();
    }
}
