//! `import` on a machine: reads the files, those that they include, what is plugged in and how it is linked to.
//!
//! Owner: the program. Opens no tty, writes nothing. A file that `*{...}` names is never read: such files hold
//! passwords.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use crate::{
    args::ImportArgs,
    discover::node,
    discovery::sysfs::{self, Scan},
    import::{self, ImportError, Imported, MAX_TEXT, Machine, Source},
    run::Failure,
};

/// Most files that one `include` brings in.
const MAX_INCLUDED: usize = 256;
/// Most links below the device directory.
const MAX_LINKS: usize = 4096;

/// The fleet of the files.
///
/// # Errors
/// [`Failure::Usage`] if there is none in them, or the name is none.
pub fn import(args: &ImportArgs) -> Result<Imported, Failure> {
    let ImportArgs { files, name, node: _, sysfs_root: _, dev_root: _ } = args;
    if !is_fleet_name(name) {
        return Err(Failure::Usage(format!(
            "--name {name:?}: a fleet is named by at most 40 lower-case letters, digits and dashes, such as home"
        )));
    }
    let mut sources = Vec::new();
    let mut unread = Vec::new();
    for file in files {
        match read(file) {
            Ok(source) => sources.push(source),
            Err(error) => unread.push(format!("{}: not read: {error}", file.display())),
        }
    }
    let mut include = |pattern: &str| included(pattern).map_err(|error| error.to_string());
    match import::import(&sources, name, &machine(args), &mut include) {
        Ok(mut imported) => {
            imported.remarks.splice(0..0, unread);
            Ok(imported)
        }
        Err(ImportError::Nothing(mut remarks)) => {
            remarks.splice(0..0, unread);
            Err(Failure::Usage(ImportError::Nothing(remarks).to_string()))
        }
        Err(error @ ImportError::TooLarge) => Err(Failure::Usage(error.to_string())),
        Err(error @ ImportError::Invalid(_)) => Err(Failure::Runtime(error.into())),
    }
}

fn is_fleet_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=40).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A file; its name is the last part of its path.
fn read(path: &Path) -> io::Result<Source> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Source { name, text: String::from_utf8_lossy(&bytes).into_owned() })
}

/// The files of a path whose last part may hold `*` and `?`, in the order of their names.
fn included(pattern: &str) -> io::Result<Vec<Source>> {
    let path = Path::new(pattern.trim());
    let last = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !last.contains(['*', '?']) {
        return Ok(vec![read(path)?]);
    }
    let directory =
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut names: Vec<String> = fs::read_dir(directory)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.') && fits(last.as_bytes(), name.as_bytes()))
        .collect();
    names.sort();
    names.iter().take(MAX_INCLUDED).map(|name| read(&directory.join(name))).collect()
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut rest, mut at) = (pattern, name);
    // Where to go on if what follows the last `*` does not fit here.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (rest.split_first(), at.split_first()) {
            (Some((b'*', behind)), _) => {
                retry = Some((behind, at));
                rest = behind;
            }
            (Some((wanted, behind)), Some((byte, next))) if *wanted == b'?' || wanted == byte => {
                (rest, at) = (behind, next);
            }
            (None, None) => return true,
            _ => {
                let Some((behind, [_, next @ ..])) = retry else { return false };
                retry = Some((behind, next));
                (rest, at) = (behind, next);
            }
        }
    }
}

/// What is here, unless the files are said to come from another node.
fn machine(args: &ImportArgs) -> Machine {
    let here = node();
    let is_here = args.node.is_none() || args.node == here || args.sysfs_root != Path::new("/sys");
    let (scan, links) = if is_here {
        let scan = sysfs::scan(&args.sysfs_root).unwrap_or_default();
        let mut links = links(&args.dev_root);
        // A node that is itself a link, as below a `--dev-root` of one's own, is the tty of its name.
        links.retain(|path, _| !scan.ttys.iter().any(|tty| path.strip_prefix("/dev/") == Some(&tty.name)));
        (scan, links)
    } else {
        (Scan::default(), BTreeMap::new())
    };
    Machine { scan, links, node_is_certain: args.node.is_some(), node: args.node.clone().or(here) }
}

/// The ttys behind the links in `/dev`, `/dev/serial/by-id` and `/dev/serial/by-path`.
fn links(dev_root: &Path) -> BTreeMap<String, String> {
    let mut links = BTreeMap::new();
    for below in ["", "serial/by-id/", "serial/by-path/"] {
        let Ok(entries) = fs::read_dir(dev_root.join(below)) else { continue };
        for entry in entries.flatten() {
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // udev links directly to the node.
            let target = fs::read_link(entry.path()).ok().filter(|_| is_link && links.len() < MAX_LINKS);
            let tty = target.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
            if let (Some(tty), Some(name)) = (tty, entry.file_name().to_str()) {
                links.insert(format!("/dev/{below}{name}"), tty.to_owned());
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, does) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yaml.bak", false),
            ("1?-*", "10-x", true),
            ("1?-*", "1-x", false),
            ("*a*b*", "xxaxxab", true),
            ("*a*b", "ba", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), does, "{pattern} {name}");
        }
    }
}
