//! HTML without any way to write text unescaped by accident: tags are literals of this program, everything else goes
//! through [`Html::text`]. Knows nothing of what is on the page.

use std::fmt::Write as _;

/// A page, or a part of one, while it is written. Called from everywhere, and never in a hurry: inlined it would only be
/// large.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Markup of our own.
    #[inline(never)]
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody.
    #[inline(never)]
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        self
    }

    /// A number.
    pub(super) fn number(&mut self, number: impl Into<i128>) -> &mut Self {
        // Writing to a String never fails.
        write!(self.0, "{}", number.into()).unwrap_or_default();
        self
    }

    /// `<tag class="class">text</tag>`.
    #[inline(never)]
    pub(super) fn element(&mut self, tag: &'static str, class: &'static str, text: &str) -> &mut Self {
        self.raw("<").raw(tag);
        if !class.is_empty() {
            self.raw(" class=\"").raw(class).raw("\"");
        }
        self.raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// The whole.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A text as one segment of a path in a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            // Writing to a String never fails.
            byte => write!(encoded, "%{byte:02X}").unwrap_or_default(),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        let mut html = Html::default();
        html.element("p", "x", r#"</p><script>alert("1" & '2')</script>"#).number(-3);
        assert_eq!(
            html.finish(),
            "<p class=\"x\">&lt;/p&gt;&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;</p>-3"
        );
        assert_eq!(encoded("a/b ?ü\""), "a%2Fb%20%3F%C3%BC%22");
    }
}
