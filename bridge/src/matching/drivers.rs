//! Which kernel module drives which USB serial chip, for the sentence that names what is missing.
//!
//! Owner: a table. Whatever is not in it is still served if some driver makes a tty of it.

/// The module for these ids, where they are well known.
pub(super) fn module(vendor: u16, product: u16) -> Option<&'static str> {
    match (vendor, product) {
        (0x0403, _) => Some("ftdi_sio"),
        (0x10c4, _) => Some("cp210x"),
        // CH343, CH9102: of the standard class.
        (0x1a86, 0x55d0..=0x55df) => Some("cdc_acm"),
        (0x1a86, 0x5512 | 0x5523 | 0x7522 | 0x7523) | (0x4348, 0x5523) => Some("ch341"),
        (0x067b, _) | (0x0557, 0x2008) => Some("pl2303"),
        (0x04e2, _) => Some("xr_serial"),
        (0x9710, 0x7720) => Some("mos7720"),
        (0x9710, _) => Some("mos7840"),
        (0x110a, 0x1024..=0x1653) => Some("mxuport"),
        (0x1608, _) => Some("io_ti"),
        (0x0451, 0x3410 | 0x5052) => Some("ti_usb_3410_5052"),
        // Modems: Huawei, Quectel, SIMCom, Sierra.
        (0x12d1 | 0x2c7c | 0x1e0e, _) => Some("option"),
        (0x1199, _) => Some("qcserial"),
        // Z-Wave and Zigbee sticks, Arduino, Raspberry Pi Pico, Espressif, Nordic, Adafruit, Teensy.
        (0x0658, 0x0200)
        | (0x0451, 0x16a8)
        | (0x1cf1, 0x0030)
        | (0x2341 | 0x2a03 | 0x2e8a | 0x303a | 0x1915 | 0x239a | 0x16c0, _) => Some("cdc_acm"),
        _ => None,
    }
}
