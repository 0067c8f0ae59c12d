//! The debug page: one document that needs nothing else, no script, no picture, no other host. Puts the sections
//! together; a reader on a phone at night is who it is for.

use super::{
    html::Html,
    sections::{calls, fleet, replay},
    view::{ReplicaView, View},
};
use crate::journal;

/// The whole page.
pub(super) fn page(view: &View) -> String {
    let mut html = Html::default();
    html.raw(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\"><title>serialfleet-hook ",
    )
    .text(&view.replica.hostname)
    .raw("</title><style>")
    .raw(include_str!("style.css"))
    .raw("</style></head><body>\n");
    header(&mut html, view);
    html.raw("<main>\n");
    if view.fleets.is_empty() {
        html.raw("<section>").element(
            "p",
            "",
            "No fleet was synced here yet. If that stays so: does Metacontroller reach this hook server, and does a \
             SerialFleet exist? Its events and the doctor tell: kubectl describe serialfleet, serialfleet-hook doctor.",
        );
        html.raw("</section>\n");
    }
    for (index, it) in view.fleets.iter().enumerate() {
        fleet(&mut html, index, it);
    }
    if view.forgotten > 0 {
        let text = format!(
            "Only the {} fleets that were called last are shown; {} times another one had to make room.",
            journal::FLEETS,
            view.forgotten
        );
        html.element("p", "note", &text);
    }
    calls(&mut html, &view.calls);
    replay(&mut html);
    html.raw("</main></body></html>\n");
    html.finish()
}

fn header(html: &mut Html, view: &View) {
    let ReplicaView { hostname, version, rev, started, up, now, note } = &view.replica;
    html.raw("<header>").element("h1", "", "serialfleet-hook").raw("<dl>");
    for (term, text) in [
        ("replica", hostname.as_str()),
        ("version", version),
        ("revision", rev.as_deref().unwrap_or("any")),
        ("started", &format!("{started}, {up} ago")),
        ("page made", now),
    ] {
        html.element("dt", "", term).element("dd", "", text);
    }
    html.raw("</dl>").element("p", "note", note).raw("<nav>");
    for (index, fleet) in view.fleets.iter().enumerate() {
        html.raw("<a href=\"#fleet").number(i128::try_from(index).unwrap_or_default()).raw("\">");
        html.text(&fleet.name).raw("</a>");
    }
    html.raw("<a href=\"#calls\">last calls</a><a href=\"#replay\">replay</a><a href=\"/debug.json\">as JSON</a></nav></header>\n");
}
