//! Container images, as the lab's nodes have them: programs of this machine, put at paths of the container's own.
//!
//! Owner: the scenario names them, the kubelets look them up. Nothing is pulled and nothing is unpacked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// An image: what lies where. Libraries come from this machine's `/usr`, which every container has read-only.
#[derive(Clone, Debug, Default)]
pub struct Image {
    files: Vec<(PathBuf, PathBuf)>,
    entrypoint: Vec<String>,
    user: u32,
}

impl Image {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file of this machine, or a directory with all that is in it, at an absolute path in the container. Not
    /// below `/usr`, `/bin`, `/lib` and the like: those are the machine's.
    #[must_use]
    pub fn file(mut self, at: impl Into<PathBuf>, from: impl Into<PathBuf>) -> Self {
        self.files.push((at.into(), from.into()));
        self
    }

    /// What runs where the pod names no command.
    #[must_use]
    pub fn entrypoint<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.entrypoint = command.into_iter().map(str::to_owned).collect();
        self
    }

    /// Who runs it where the pod does not say; root if this is not called.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.user = uid;
        self
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.files.iter().map(|(at, from)| (at.as_path(), from.as_path()))
    }

    pub(crate) fn command(&self) -> &[String] {
        &self.entrypoint
    }

    pub(crate) fn uid(&self) -> u32 {
        self.user
    }
}

/// All images that a node can "pull", by name.
#[derive(Clone, Debug, Default)]
pub struct Images(BTreeMap<String, Image>);

impl Images {
    /// None: every pull fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more, by its name without tag and digest.
    #[must_use]
    pub fn with(mut self, name: &str, image: Image) -> Self {
        self.0.insert(name.to_owned(), image);
        self
    }

    /// What a pod's `image:` stands for.
    #[must_use]
    pub fn find(&self, reference: &str) -> Option<&Image> {
        self.0.get(name_of(reference))
    }
}

/// A reference without tag and digest. A colon before a slash belongs to the registry's port.
fn name_of(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_do_not_matter() {
        for reference in ["a.example:5000/x/y", "a.example:5000/x/y:v1", "a.example:5000/x/y:v1@sha256:00"] {
            assert_eq!(name_of(reference), "a.example:5000/x/y");
        }
        assert_eq!(name_of("metacontroller"), "metacontroller");
        let images = Images::new().with("metacontroller", Image::new());
        assert!(images.find("metacontroller:v4").is_some() && images.find("meta").is_none());
    }
}
