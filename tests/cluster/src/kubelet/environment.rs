//! A container's command and environment variables, and what of its pod they may refer to.
//!
//! Owner: the container's task. It asks the API server for the ConfigMaps and Secrets that are named, nothing else.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, EnvVarSource, Pod, Secret};
use kube::{Api, Client};

use super::view::PodView;

/// Who asks, and for whom.
pub(super) struct Subject<'a> {
    pub(super) client: &'a Client,
    pub(super) pod: &'a Pod,
    pub(super) view: &'a PodView,
    pub(super) host_addresses: &'a [String],
}

/// All variables, in an order in which each comes after those that it may refer to.
///
/// # Errors
/// If something is named that is not there, or is of a kind that this lab does not know.
pub(super) async fn variables(
    subject: &Subject<'_>,
    container: &Container,
    api_service: (&str, &str),
) -> Result<Vec<(String, String)>> {
    let mut all = Variables::default();
    all.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    all.set("HOSTNAME", &subject.view.name);
    all.set("KUBERNETES_SERVICE_HOST", api_service.0);
    all.set("KUBERNETES_SERVICE_PORT", api_service.1);
    all.set("KUBERNETES_SERVICE_PORT_HTTPS", api_service.1);
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let content = if let Some(map) = &source.config_map_ref {
            subject.config_map(&map.name, map.optional == Some(true)).await?
        } else if let Some(secret) = &source.secret_ref {
            subject.secret(&secret.name, secret.optional == Some(true)).await?
        } else {
            None
        };
        for (name, value) in content.into_iter().flatten() {
            all.set(&format!("{prefix}{name}"), &String::from_utf8_lossy(&value));
        }
    }
    for EnvVar { name, value, value_from } in container.env.iter().flatten() {
        let value = match (value, value_from) {
            (_, Some(source)) => subject.look_up(source).await.with_context(|| format!("variable {name}"))?,
            (value, None) => Some(all.expand(value.as_deref().unwrap_or_default())),
        };
        if let Some(value) = value {
            all.set(name, &value);
        }
    }
    Ok(all.0)
}

/// What is executed.
pub(super) fn command(
    container: &Container,
    of_image: &[String],
    variables: &[(String, String)],
) -> Vec<String> {
    let variables = Variables(variables.to_vec());
    let command = container.command.clone().filter(|command| !command.is_empty());
    command
        .unwrap_or_else(|| of_image.to_vec())
        .iter()
        .chain(container.args.iter().flatten())
        .map(|word| variables.expand(word))
        .collect()
}

impl Subject<'_> {
    /// One of the fields that variables and files may show.
    ///
    /// # Errors
    /// If the downward API has no such field.
    pub(super) fn field(&self, path: &str) -> Result<String> {
        let metadata = &self.pod.metadata;
        let spec = self.pod.spec.as_ref();
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let entry = |map: &Option<BTreeMap<String, String>>, key: &str| {
            text(map.as_ref().and_then(|map| map.get(key.trim_matches(['\'', '"']))))
        };
        if let Some((map, key)) = path.strip_suffix(']').and_then(|path| path.split_once('[')) {
            return match map {
                "metadata.labels" => Ok(entry(&metadata.labels, key)),
                "metadata.annotations" => Ok(entry(&metadata.annotations, key)),
                _ => bail!("unknown field {path}"),
            };
        }
        let lines = |map: &Option<BTreeMap<String, String>>| {
            let lines = map.iter().flatten().map(|(key, value)| format!("{key}={value:?}"));
            lines.collect::<Vec<_>>().join("\n")
        };
        let addresses = || self.view.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        Ok(match path {
            "metadata.name" => self.view.name.clone(),
            "metadata.namespace" => self.view.namespace.clone(),
            "metadata.uid" => self.view.uid.clone(),
            "metadata.labels" => lines(&metadata.labels),
            "metadata.annotations" => lines(&metadata.annotations),
            "spec.nodeName" => text(spec.and_then(|spec| spec.node_name.as_ref())),
            "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
            "status.podIP" => addresses().first().cloned().unwrap_or_default(),
            "status.podIPs" => addresses().join(","),
            "status.hostIP" => self.host_addresses.first().cloned().unwrap_or_default(),
            "status.hostIPs" => self.host_addresses.join(","),
            _ => bail!("unknown field {path}"),
        })
    }

    /// `None`: not there, and that is allowed.
    pub(super) async fn config_map(&self, name: &str, optional: bool) -> Result<Option<Content>> {
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.view.namespace);
        let Some(map) = api.get_opt(name).await.with_context(|| format!("configmap {name:?}"))? else {
            return absent("configmap", name, optional);
        };
        let text = map.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0));
        Ok(Some(text.chain(binary).collect()))
    }

    /// `None`: not there, and that is allowed.
    pub(super) async fn secret(&self, name: &str, optional: bool) -> Result<Option<Content>> {
        let api = Api::<Secret>::namespaced(self.client.clone(), &self.view.namespace);
        let Some(secret) = api.get_opt(name).await.with_context(|| format!("secret {name:?}"))? else {
            return absent("secret", name, optional);
        };
        Ok(Some(secret.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect()))
    }

    async fn look_up(&self, source: &EnvVarSource) -> Result<Option<String>> {
        let (content, key, optional) = if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        } else if let Some(from) = &source.config_map_key_ref {
            let optional = from.optional == Some(true);
            (self.config_map(&from.name, optional).await?, &from.key, optional)
        } else if let Some(from) = &source.secret_key_ref {
            let optional = from.optional == Some(true);
            (self.secret(&from.name, optional).await?, &from.key, optional)
        } else {
            bail!("this lab knows no such source")
        };
        match content.unwrap_or_default().remove(key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if optional => Ok(None),
            None => bail!("couldn't find key {key}"),
        }
    }
}

/// What a ConfigMap or Secret holds.
pub(super) type Content = BTreeMap<String, Vec<u8>>;

fn absent(kind: &str, name: &str, optional: bool) -> Result<Option<Content>> {
    if optional { Ok(None) } else { bail!("{kind} {name:?} not found") }
}

#[derive(Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// `$(NAME)` for those that are known; `$$` is a dollar sign, all else stays as it is.
    fn expand(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
            let value = reference.and_then(|(name, _)| self.0.iter().find(|(known, _)| known == name));
            rest = match (after.strip_prefix('$'), reference, value) {
                (Some(after), ..) => {
                    out.push('$');
                    after
                }
                (None, Some((_, after)), Some((_, value))) => {
                    out.push_str(value);
                    after
                }
                _ => {
                    out.push('$');
                    after
                }
            };
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_expanded_as_the_kubelet_does() {
        let variables = Variables(vec![("A".to_owned(), "one".to_owned())]);
        for (text, expanded) in [
            ("$(A)", "one"),
            ("x$(A)y$(A)", "xoneyone"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A $(A", "$A $(A"),
            ("50$", "50$"),
        ] {
            assert_eq!(variables.expand(text), expanded, "{text}");
        }
    }
}
