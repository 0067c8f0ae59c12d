//! The sections of the debug page: a fleet, its conditions, devices, predicted changes and bodies; the last calls.

use super::{
    html::Html,
    view::{BodyView, CallView, ChangeView, ConditionView, DeviceView, FleetView, PredictionView},
};
use crate::foresight::HOT;

/// A fleet.
pub(super) fn fleet(html: &mut Html, index: usize, fleet: &FleetView) {
    html.raw("<section id=\"fleet").number(i128::try_from(index).unwrap_or_default()).raw("\">");
    html.element("h2", "", &fleet.name);
    let generation = fleet.generation.map(|it| format!("generation {it}, ")).unwrap_or_default();
    let call = format!("{generation}called {} ago; shown is call {} of this replica", fleet.ago, fleet.call);
    html.element("p", "faint", &call);
    if let Some(trouble) = &fleet.trouble {
        html.element("p", "alarm bad", trouble);
    }
    if !fleet.conditions.is_empty() {
        conditions(html, &fleet.conditions);
    }
    if !fleet.devices.is_empty() {
        html.element("h3", "", "Devices");
        fleet.devices.iter().for_each(|it| device(html, it));
    }
    if fleet.more_devices > 0 {
        let text = format!("and {} more: serialfleet-hook explain request.json DEVICE", fleet.more_devices);
        html.element("p", "note", &text);
    }
    if let Some(predicted) = &fleet.predicted {
        prediction(html, predicted);
    }
    if !fleet.controller.is_empty() {
        html.element("h3", "", "Wrong in the CompositeController").raw("<ul>");
        fleet.controller.iter().for_each(|it| {
            html.element("li", "", it);
        });
        html.raw("</ul>");
    }
    bodies(html, fleet);
    html.raw("</section>\n");
}

/// What is not as it should be with its message; the rest in one line, to be unfolded.
fn conditions(html: &mut Html, conditions: &[ConditionView]) {
    html.element("h3", "", "Conditions");
    let (fine, odd): (Vec<_>, Vec<_>) = conditions.iter().partition(|it| is_fine(it));
    for it in odd {
        let class = if matches!(it.type_.as_str(), "Ready" | "Stalled") { "tag bad" } else { "tag wait" };
        html.raw("<div class=\"odd\">").element("b", "", &it.type_).raw(" ");
        html.element("span", class, &it.status).raw(" ").element("span", "faint", &it.reason);
        html.element("p", "", &it.message)
            .element("p", "faint", &format!("since {}", it.since))
            .raw("</div>");
    }
    if fine.is_empty() {
        return;
    }
    html.raw("<details><summary>");
    for it in &fine {
        html.element("span", "tag good", &format!("{} {}", it.type_, it.status)).raw(" ");
    }
    html.raw("</summary><ul>");
    for it in &fine {
        html.raw("<li>").element("b", "", &it.type_).text(" ").text(&it.reason).text(". ").text(&it.message);
        html.element("div", "faint", &format!("since {}", it.since)).raw("</li>");
    }
    html.raw("</ul></details>");
}

fn is_fine(condition: &ConditionView) -> bool {
    let good = if matches!(condition.type_.as_str(), "Reconciling" | "Stalled" | "Degraded") {
        "False"
    } else {
        "True"
    };
    condition.status == good
}

fn device(html: &mut Html, device: &DeviceView) {
    let DeviceView { name, state, node, address, reason, explanation } = device;
    let class = match state.as_str() {
        "Serving" if reason.is_empty() => "tag good",
        "Serving" | "Held" => "tag wait",
        "Conflict" | "Failed" | "Denied" => "tag bad",
        _ => "tag",
    };
    html.raw("<details><summary>").element("b", "", name).raw(" ").element("span", class, state);
    let place = if node.is_empty() { String::new() } else { format!("on {node}") };
    for text in [&place, reason, address] {
        if !text.is_empty() {
            html.raw(" ").element("span", "faint", text);
        }
    }
    html.raw("</summary><div class=\"words\">");
    // The first line says what the summary says.
    for line in explanation.lines().skip(1) {
        let class = match line.len() - line.trim_start().len() {
            0..=3 => "word",
            4..=5 => "item",
            _ => "inner",
        };
        html.element("div", class, line.trim_start());
    }
    html.raw("</div></details>");
}

fn prediction(html: &mut Html, prediction: &PredictionView) {
    html.raw("<h3>What Metacontroller does with the answer</h3>");
    if prediction.hot {
        html.element(
            "p",
            "alarm bad",
            "Hot loop: the same is written again and again. Somebody changes it back, or Kubernetes stores something else \
             or refuses it.",
        );
    }
    let rest = format!("{}; {} children stay as they are", prediction.summary, prediction.unchanged);
    html.element("p", "", &rest);
    prediction.changes.iter().for_each(|it| change(html, it));
    if prediction.more_changes > 0 {
        html.element(
            "p",
            "note",
            &format!("and {} more: serialfleet-hook diff request.json", prediction.more_changes),
        );
    }
}

fn change(html: &mut Html, change: &ChangeView) {
    let class = match change.action {
        "Delete" | "Recreate" => "tag bad",
        "Leave" => "tag wait",
        _ => "tag",
    };
    html.raw("<details><summary>").element("span", class, change.action).raw(" ");
    html.element("b", "", &change.object).raw(" ");
    repeated(html, change.calls_in_a_row);
    html.element("span", "faint reason", &change.reason).raw("</summary>");
    for path in &change.paths {
        html.raw("<div class=\"path\">").element("code", "", &path.path).raw(" ");
        if path.drift {
            html.element("span", "tag wait", "somebody changed it");
        }
        if path.calls_in_a_row != change.calls_in_a_row {
            repeated(html, path.calls_in_a_row);
        }
        if let Some(before) = &path.before {
            html.element("code", "del", before);
        }
        if let Some(after) = &path.after {
            html.element("code", "add", after);
        }
        html.raw("</div>");
    }
    if change.more_paths > 0 {
        html.element("p", "note", &format!("and {} more paths", change.more_paths));
    }
    if change.paths.is_empty() {
        html.element("p", "", "The whole object.");
    }
    html.raw("</details>");
}

/// The first time nothing, the second time a hint: a cache may lag behind.
fn repeated(html: &mut Html, calls_in_a_row: u32) {
    if calls_in_a_row >= 2 {
        let class = if calls_in_a_row >= HOT { "tag bad" } else { "tag wait" };
        html.element("span", class, &format!("the same in {calls_in_a_row} calls in a row")).raw(" ");
    }
}

fn bodies(html: &mut Html, fleet: &FleetView) {
    let Some(request) = &fleet.request else { return };
    html.raw("<h3>Request and answer</h3>");
    body(html, "request", request);
    if let Some(answer) = &fleet.answer {
        body(html, "answer", answer);
    }
}

fn body(html: &mut Html, what: &'static str, body: &BodyView) {
    html.raw("<details><summary>").element("b", "", what).raw(" ");
    html.element("span", "faint", &size(body.bytes))
        .raw(" <a href=\"")
        .text(&body.url)
        .raw("\">download</a></summary>");
    html.element("pre", "body", &body.excerpt).raw("</details>");
}

/// What to do with a request that was downloaded.
pub(super) fn replay(html: &mut Html) {
    html.raw(
        "<section id=\"replay\"><h2>Replay a request</h2><p>Downloaded above, as request.json. None of this changes \
         anything in the cluster.</p><ul>\
         <li>What Metacontroller will change, and why<pre>serialfleet-hook diff request.json</pre></li>\
         <li>Why a device is served where it is<pre>serialfleet-hook explain request.json DEVICE</pre></li>\
         <li>What is wrong with the CompositeController<pre>serialfleet-hook doctor request.json</pre></li>\
         <li>The answer itself<pre>curl -sS -d @request.json \"http://127.0.0.1:8080/sync?rev=REV\"</pre></li>\
         </ul></section>\n",
    );
}

/// The last calls.
pub(super) fn calls(html: &mut Html, calls: &[CallView]) {
    html.raw("<section id=\"calls\"><h2>Last calls</h2>");
    if calls.is_empty() {
        html.element("p", "", "None yet.");
    }
    html.raw("<ol>");
    calls.iter().for_each(|it| call(html, it));
    html.raw("</ol></section>\n");
}

fn call(html: &mut Html, call: &CallView) {
    let class = match call.code {
        200..=399 => "tag good",
        429 | 499 => "tag wait",
        _ => "tag bad",
    };
    html.raw("<li><span class=\"").raw(class).raw("\">").number(call.code).raw("</span> ");
    html.element("b", "", call.hook).raw(" ").text(&call.fleet).raw(" ");
    if call.reason != "Answered" {
        html.element("span", "", call.reason);
    }
    html.raw("<div class=\"faint\">#")
        .number(i128::from(call.number))
        .text(" · ")
        .text(&call.ago)
        .text(" ago · ");
    html.text(&milliseconds(call.microseconds)).text(" · ").text(&size(call.bytes_in)).text(" in, ");
    html.text(&size(call.bytes_out)).text(" out");
    if let Some(unchanged) = call.unchanged {
        html.text(if unchanged == "Request" { " · same request" } else { " · same answer" });
    }
    if let Some(predicted) = &call.predicted {
        html.text(" · writes: ").text(predicted);
    }
    html.raw("</div>");
    if let Some(refusal) = &call.refusal {
        html.element("div", "", refusal);
    }
    html.raw("</li>\n");
}

fn milliseconds(microseconds: u128) -> String {
    format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10)
}

fn size(bytes: usize) -> String {
    match bytes {
        0..2_048 => format!("{bytes} B"),
        2_048..2_097_152 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}
