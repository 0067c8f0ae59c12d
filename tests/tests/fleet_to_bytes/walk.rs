//! The walk.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use serde_json::json;
use serialfleet_api::manifest;

use super::{cluster::Cluster, node::Node};

const LIMIT: Duration = Duration::from_secs(10);

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

fn expect(client: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    client.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

fn services(cluster: &Cluster) -> Vec<String> {
    cluster.children["Service.v1"].keys().cloned().collect()
}

#[test]
fn from_the_example_to_bytes_and_on_to_another_node() {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/home.yaml"),
    )
    .unwrap();
    let fleet = manifest::read_fleet(&text).unwrap();
    let mut cluster = Cluster::apply(&fleet);

    // What the hook wants to see besides the fleet.
    let related = cluster.call("customize", &json!({"controller": {}, "parent": cluster.parent}));
    let asked: Vec<&str> = related["relatedResources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["resource"].as_str().unwrap())
        .collect();
    assert!(asked.contains(&"serialnodes") && asked.contains(&"endpointslices"), "{asked:?}");

    // Before any bridge: Services are there, their slices are empty.
    cluster.sync(&[]);
    let before = services(&cluster);
    assert!(before.iter().any(|name| name.ends_with("/zigbee")), "{before:?}");
    assert_eq!(cluster.endpoint("zigbee"), None);

    // A node with the two sticks of the example among others, and one with none.
    let (one, [zigbee, zwave]) = Node::boot("wyse-1", "mixed", ["10c4:ea60", "0658:0200"]);
    let (two, []) = Node::boot("wyse-2", "base", []);
    cluster.sync_until(&[&one, &two], "both served", |cluster| {
        cluster.device("zigbee")["state"] == "Serving" && cluster.device("zwave")["state"] == "Serving"
    });
    assert_eq!(cluster.device("zigbee")["node"], "wyse-1");

    // Bytes, through the endpoints that the slices name.
    let (node, address) = cluster.endpoint("zigbee").unwrap();
    assert_eq!(node, "wyse-1");
    assert!((20_000..30_000).contains(&address.port()), "a pod port");
    let mut client = connect(address);
    client.write_all(b"ping").unwrap();
    zigbee.hear(b"ping");
    zigbee.say(b"pong");
    expect(&mut client, b"pong");
    let mut other = connect(cluster.endpoint("zwave").unwrap().1);
    other.write_all(&[1]).unwrap();
    zwave.hear(&[1]);

    // Unplugged with a client: held, and the client is still connected after the replug.
    let tty = zigbee.unplug();
    cluster.sync_until(&[&one, &two], "held", |cluster| cluster.device("zigbee")["state"] == "Held");
    assert!(cluster.endpoint("zigbee").is_some(), "who holds clients keeps the endpoint");
    let zigbee = one.replug(&tty);
    cluster
        .sync_until(&[&one, &two], "served again", |cluster| cluster.device("zigbee")["state"] == "Serving");
    zigbee.say(b"back");
    expect(&mut client, b"back");

    // Unplugged and plugged into the other node: same Service, the slice follows, the old client is let go.
    zigbee.unplug();
    drop(two);
    let (two, [moved]) = Node::boot("wyse-2", "cp210x-sonoff", ["10c4:ea60"]);
    cluster.sync_until(&[&one, &two], "moved", |cluster| {
        cluster.endpoint("zigbee").is_some_and(|(node, _)| node == "wyse-2")
    });
    assert_eq!(cluster.device("zigbee")["state"], "Serving");
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "held no longer: the device serves elsewhere");
    let mut client = connect(cluster.endpoint("zigbee").unwrap().1);
    client.write_all(b"here?").unwrap();
    moved.hear(b"here?");
    moved.say(b"here");
    expect(&mut client, b"here");

    // The other device noticed nothing of all this, and no Service came or went.
    zwave.say(b"still here");
    expect(&mut other, b"still here");
    assert_eq!(services(&cluster), before);
}
