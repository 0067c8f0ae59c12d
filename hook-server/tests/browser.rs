//! The debug page in a real browser, at the width of a phone and of a desk: it fits, nothing fails, nothing is fetched,
//! nothing runs, and it follows light and dark.
//!
//! Needs chromium. Where there is none it says so and passes; where `CI` is set it fails. With
//! `SERIALFLEET_SCREENSHOTS=DIR` it leaves pictures there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod browser {
    pub(crate) mod devtools;
}
#[path = "debug/scene.rs"]
mod scene;

use std::{future::pending, path::PathBuf};

use browser::devtools::{Browser, find};
use scene::{Scene, hostile, recorded};
use serde_json::json;
use serialfleet_hook::{
    app::Readiness,
    serve::{Timing, bind, serve},
};

/// Width, height, scale, whether it is touched.
const PHONE: (u32, u32, f64, bool) = (412, 915, 2.0, true);
const DESK: (u32, u32, f64, bool) = (1280, 900, 1.0, false);

#[tokio::test]
async fn the_page_is_readable_on_a_phone_and_a_desk_in_light_and_dark() {
    let Some(program) = find() else {
        assert!(std::env::var_os("CI").is_none(), "chromium is missing: apt-get install chromium");
        eprintln!("skipped: chromium is missing (apt-get install --no-install-recommends chromium)");
        return;
    };
    let scene = Scene::new(8 << 20);
    for (case, fleet) in
        [("conflict", "attic"), ("served", "home"), ("moved", "home"), ("scope_node", "workshop")]
    {
        assert_eq!(scene.sync(&recorded(case, fleet)).await.0, 200);
    }
    for version in ["91", "92", "93"] {
        let mut request = hostile();
        request["parent"]["metadata"]["resourceVersion"] = json!(version);
        scene.sync(&request).await;
    }
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}/debug", listener.local_addr().unwrap());
    let page = serve(listener, scene.debug.clone(), Readiness::default(), Timing::default(), pending());
    let look = tokio::task::spawn_blocking(move || look(&program, &url));
    tokio::select! {
        () = page => unreachable!("it serves for ever"),
        looked = look => looked.unwrap(),
    }
}

fn look(program: &str, url: &str) {
    let mut browser = Browser::start(program);
    for (name, screen) in [("phone", PHONE), ("desk", DESK)] {
        for scheme in ["light", "dark"] {
            for open in [false, true] {
                let what = format!("{name}-{scheme}-{}", if open { "open" } else { "closed" });
                let tab = browser.open(url, screen, scheme);
                if open {
                    browser.evaluate(
                        &tab,
                        "document.querySelectorAll('details').forEach(it => it.open = true), 0",
                    );
                }
                let facts = browser.evaluate(&tab, FACTS);
                assert_eq!(facts["title"], "serialfleet-hook serialfleet-hook-7d9c-x2x4q", "{what}");
                assert_eq!(facts["width"], screen.0, "{what}: {facts}");
                assert_eq!(facts["beyond"], json!([]), "{what}: these stand out of the page");
                assert!(facts["scroll"].as_u64() <= facts["width"].as_u64(), "{what}: {facts}");
                assert_eq!((&facts["scripts"], &facts["images"]), (&json!(0), &json!(0)), "{what}");
                assert_eq!(facts["sections"], 6, "{what}");
                assert_eq!(facts["dark"], scheme == "dark", "{what}: {facts}");
                assert!(facts["contrast"].as_f64().unwrap() >= 4.5, "{what}: {facts}");
                assert!(facts["smallest"].as_f64().unwrap() >= 13.0, "{what}: {facts}");
                if name == "phone" {
                    assert!(facts["target"].as_f64().unwrap() >= 24.0, "{what}: {facts}");
                }
                if let Some(directory) = std::env::var_os("SERIALFLEET_SCREENSHOTS") {
                    let file = PathBuf::from(directory).join(format!("{what}.png"));
                    std::fs::write(file, browser.screenshot(&tab)).unwrap();
                }
                browser.close(&tab);
            }
        }
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
    let fetched: Vec<&String> = browser.fetched.iter().filter(|it| *it != url && *it != "data:,").collect();
    assert!(fetched.is_empty(), "{fetched:?}");
}

/// What can only be measured once it is laid out.
const FACTS: &str = r"(() => {
    const all = [...document.body.querySelectorAll('*')].filter(it => it.getClientRects().length);
    const rgb = text => text.match(/[\d.]+/g).map(Number);
    const light = text => {
        const [r, g, b] = rgb(text).map(it => it / 255).map(it => it <= 0.03928 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const back = it => {
        for (; it; it = it.parentElement) {
            const colour = getComputedStyle(it).backgroundColor;
            if (!colour.endsWith(', 0)')) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const worded = all.filter(it => [...it.childNodes].some(node => node.nodeType === 3 && node.data.trim()));
    const contrast = it => {
        const [a, b] = [light(getComputedStyle(it).color), light(back(it))].sort((a, b) => b - a);
        return (a + 0.05) / (b + 0.05);
    };
    const least = (list, of) => Math.min(...list.map(of));
    return {
        title: document.title,
        width: innerWidth,
        scroll: document.documentElement.scrollWidth,
        beyond: all.filter(it => !it.closest('pre.body') && it.getBoundingClientRect().right > innerWidth + 0.5)
            .map(it => it.outerHTML.slice(0, 80)),
        scripts: document.scripts.length,
        images: document.images.length,
        sections: document.querySelectorAll('section').length,
        dark: light(getComputedStyle(document.body).backgroundColor) < 0.2,
        contrast: least(worded, contrast),
        smallest: least(worded, it => parseFloat(getComputedStyle(it).fontSize)),
        target: least(all.filter(it => it.matches('summary, nav a')), it => it.getBoundingClientRect().height),
    };
})()";
