//! Stacks of gensios, `telnet(rfc2217),ssl(key=/k),tcp,localhost,2000`: layers with arguments, and what the last one
//! is about (gensio(5)).
//!
//! Owner: [`super::connections`]. Knows where a stack ends, not what its layers do.

/// One layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layer {
    /// `telnet`.
    pub(super) name: String,
    /// `key=value` or `key`.
    pub(super) arguments: Vec<(String, String)>,
}

impl Layer {
    /// The argument's value, empty if it is a key alone; the last one counts.
    pub(super) fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Layers from the outermost one to that which touches the world, and the text behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stack {
    pub(super) layers: Vec<Layer>,
    pub(super) rest: String,
}

/// Layers that have another one below them.
const FILTERS: [&str; 17] = [
    "telnet",
    "ssl",
    "certauth",
    "mux",
    "msgdelim",
    "relpkt",
    "trace",
    "perf",
    "conacc",
    "xlt",
    "keepopen",
    "script",
    "ratelimit",
    "cm108gpio",
    "kiss",
    "ax25",
    "chardelay",
];
/// Most layers.
const MAX_LAYERS: usize = 16;

/// Takes a stack apart; any text is one.
pub(super) fn stack(text: &str) -> Stack {
    let mut layers = Vec::new();
    let mut rest = text.trim();
    while layers.len() < MAX_LAYERS {
        // A path alone is a serial device, a number or an address alone is TCP.
        if rest.starts_with('/') {
            layers.push(Layer { name: "serialdev".to_owned(), ..Layer::default() });
            break;
        }
        if is_address(rest) {
            layers.push(Layer { name: "tcp".to_owned(), ..Layer::default() });
            break;
        }
        let end = rest.find(|c: char| c == ',' || c == '(' || c.is_whitespace()).unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let (arguments, behind) = match behind.strip_prefix('(') {
            Some(inner) => arguments(inner),
            None => (Vec::new(), behind),
        };
        let is_filter = FILTERS.contains(&name);
        layers.push(Layer { name: name.to_owned(), arguments });
        rest = behind.trim_start().trim_start_matches(',').trim_start();
        if !is_filter {
            break;
        }
    }
    Stack { layers, rest: rest.to_owned() }
}

fn is_address(text: &str) -> bool {
    let first = text.split(',').next().unwrap_or_default().trim();
    let all = |is: fn(&char) -> bool| !first.is_empty() && first.chars().all(|c| is(&c));
    matches!(first, "ipv4" | "ipv6" | "localhost")
        || all(char::is_ascii_digit)
        || first.parse::<std::net::IpAddr>().is_ok()
}

/// What stands in parentheses, and what follows them.
fn arguments(inner: &str) -> (Vec<(String, String)>, &str) {
    let mut depth = 1;
    let mut quote = None;
    let mut escaped = false;
    let end = inner.char_indices().find(|(_, character)| {
        match (escaped, quote, character) {
            (true, _, _) => escaped = false,
            (_, _, '\\') => escaped = true,
            (_, Some(open), character) if open == *character => quote = None,
            (_, Some(_), _) => {}
            (_, None, '"' | '\'') => quote = Some(*character),
            (_, None, '(') => depth += 1,
            (_, None, ')') => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    let end = end.map_or(inner.len(), |(at, _)| at);
    let (inside, behind) = inner.split_at_checked(end).unwrap_or((inner, ""));
    let pairs = words(inside).into_iter().map(|word| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (word, String::new()),
    });
    (pairs.collect(), behind.strip_prefix(')').unwrap_or(behind))
}

/// Words between commas and blanks; quotes and backslashes protect both.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (_, '\\') => word.extend(characters.next()),
            (Some(open), character) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, character) if character == ',' || character.is_whitespace() => {
                words.push(std::mem::take(&mut word));
            }
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Stack { layers, rest } = stack(text);
        let layers: Vec<String> = layers
            .iter()
            .map(|layer| {
                let arguments: Vec<String> =
                    layer.arguments.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("{}({})", layer.name, arguments.join(" "))
            })
            .collect();
        format!("{} {rest}", layers.join(" > "))
    }

    #[test]
    fn stacks_are_taken_apart() {
        for (text, parts) in [
            ("tcp,6638", "tcp() 6638"),
            ("6638", "tcp() 6638"),
            ("::1,6638", "tcp() ::1,6638"),
            (
                "telnet(rfc2217=true, winsize),tcp(nodelay),::,23",
                "telnet(rfc2217=true winsize=) > tcp(nodelay=) ::,23",
            ),
            ("ssl(CA='/a b/',key=\"x)\"),tcp,1", "ssl(CA=/a b/ key=x)) > tcp() 1"),
            ("serialdev, /dev/ttyS0, 9600n81,local", "serialdev() /dev/ttyS0, 9600n81,local"),
            (
                "keepopen(retry-time=1),serialdev(rdonly),/dev/x",
                "keepopen(retry-time=1) > serialdev(rdonly=) /dev/x",
            ),
            ("/dev/ttyS0,9600n81", "serialdev() /dev/ttyS0,9600n81"),
            ("ipmisol,lan -U a", "ipmisol() lan -U a"),
            ("ssl(key=(,tcp,1", "ssl(key=( tcp= 1=) > () "),
            ("", "() "),
        ] {
            assert_eq!(shown(text), parts, "{text:?}");
        }
    }
}
