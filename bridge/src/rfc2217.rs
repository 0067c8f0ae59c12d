//! The server's side of telnet (RFC 854, 855, 856, 857, 858) and of its COM-PORT option (RFC 2217), for one client.
//!
//! Owned by the port, one [`Session`] per client. Knows no socket, no tty, no clock and no queue: the port hands in
//! what the client sent, gets [`Event`]s, performs them and has the answers encoded. It must not allocate, and must
//! not panic on anything a client sends.
//!
//! **Order.** After each [`Event::Request`] the port performs it, calls [`Session::answer`] and only then decodes on:
//! so a change of the line takes effect between the right two bytes, and the answer tells what is in force.
//!
//! **Bounds.** A session is a fixed number of bytes and owns no heap. What it writes is at most
//! [`MOST_OUT_PER_BYTE_IN`] bytes for each byte of the client's and [`GREETING`] once, whatever the client sends,
//! and apart from what the port itself notifies.
//!
//! While the client has not agreed to BINARY, the NUL of its CR NUL is dropped (RFC 854). What goes to the client is
//! never changed but for doubled IACs: a bare CR stays one, as in ser2net.

mod ahead;
mod command;
mod escape;
mod notices;
mod options;
mod subnegotiation;
mod unmark;

pub use self::{
    command::{Purge, Request, Values},
    escape::{Escaped, escape},
    notices::{line_state, modem_state},
    options::GREETING,
    unmark::{Unmarked, Unmarker},
};
use self::{
    notices::Notices,
    options::{Options, Verb},
    subnegotiation::Subnegotiation,
};

/// Most bytes that a byte from the client can cause: `AYT` is two and answered by nine, all else is cheaper.
pub const MOST_OUT_PER_BYTE_IN: usize = 5;

const SE: u8 = 240;
const DATA_MARK: u8 = 242;
const BREAK: u8 = 243;
const ARE_YOU_THERE: u8 = 246;
const SB: u8 = 250;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
const IAC: u8 = 255;

const CR: u8 = 13;
/// RFC 854: "some visible evidence".
const I_AM_HERE: [u8; 9] = *b"\r\n[Yes]\r\n";

/// What comes up for the port while it decodes a client's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes for the device: a run of the input, never empty.
    Data(&'a [u8]),
    /// To perform, then to answer with [`Session::answer`] before anything more is decoded.
    Request(Request),
    /// To do; nothing is answered.
    Attention(Attention),
}

/// What a client wants of the port beside data and requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// Telnet BRK: send a break of the usual length.
    Break,
    /// Telnet SYNC's data mark: drop what the client sent and the device has not taken.
    DataMark,
    /// Send this client no data until [`Attention::Resume`]; answers go on.
    Suspend,
    /// Send data again.
    Resume,
}

/// The protocol state of one client.
#[derive(Clone, Debug, Default)]
pub struct Session {
    state: State,
    /// The last byte of data was a CR.
    after_cr: bool,
    subnegotiation: Subnegotiation,
    options: Options,
    notices: Notices,
    /// The last baud rate came as Cisco's index, so it is answered as one.
    baud_rate_is_index: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Data,
    /// The byte after IAC.
    Command,
    /// The option after WILL, WONT, DO, DONT.
    Option(Verb),
    /// A byte after IAC SB.
    Subnegotiation,
    /// The byte after an IAC in a subnegotiation.
    SubnegotiationCommand,
}

impl Session {
    /// A session at its start: nothing offered, nothing agreed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The server's offers: the first bytes to a client, once.
    pub fn greet(&mut self, out: &mut impl Extend<u8>) {
        self.options.offer(out);
    }

    /// Consumes input until something comes up; `None` once it is used up. Answers of telnet's own are appended to
    /// `out`, in order with those of [`Session::answer`].
    pub fn next<'a>(&mut self, input: &mut &'a [u8], out: &mut impl Extend<u8>) -> Option<Event<'a>> {
        while let Some((&byte, rest)) = input.split_first() {
            let event = match self.state {
                State::Data if byte == IAC => {
                    self.state = State::Command;
                    None
                }
                State::Data if byte == 0 && self.after_cr && !self.options.client_is_binary() => {
                    self.after_cr = false;
                    None
                }
                State::Data => return Some(Event::Data(self.run(input))),
                // The second IAC of two is data, and the first byte of a run.
                State::Command if byte == IAC => return Some(Event::Data(self.run(input))),
                State::Command => self.command(byte, out),
                State::Option(verb) => {
                    self.state = State::Data;
                    self.negotiate(verb, byte, out)
                }
                State::Subnegotiation if byte == IAC => {
                    self.state = State::SubnegotiationCommand;
                    None
                }
                State::Subnegotiation => {
                    self.subnegotiation.push(byte);
                    None
                }
                State::SubnegotiationCommand if byte == IAC => {
                    self.subnegotiation.push(byte);
                    self.state = State::Subnegotiation;
                    None
                }
                State::SubnegotiationCommand if byte == SE => {
                    self.state = State::Data;
                    self.subnegotiated(true, out)
                }
                State::SubnegotiationCommand => {
                    // Its end was forgotten: what came so far is answered, and this is a command after it.
                    self.state = State::Command;
                    match self.subnegotiated(false, out) {
                        None => continue,
                        event => return event,
                    }
                }
            };
            *input = rest;
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Encodes the answer to a request, from the values in force after it was performed or refused.
    pub fn answer(&mut self, request: &Request, values: &Values, out: &mut impl Extend<u8>) {
        match *request {
            Request::BaudRate(asked) => {
                command::answer_baud_rate(asked, values.baud_rate, self.baud_rate_is_index, out);
            }
            Request::ModemState => {
                command::notify_modem_state(self.notices.poll_modem(values.modem_state), out);
            }
            Request::ModemStateMask(_) => {
                command::answer_byte(*request, values, out);
                // Lines that the mask hid until now may be other than the client was told.
                self.notify_modem_state(values.modem_state, out);
            }
            _ => command::answer_byte(*request, values, out),
        }
    }

    /// Tells the client the modem lines ([`modem_state`]; other bits are ignored) if its mask asks for what changed
    /// since it was last told. While it has suspended, they are kept, and told when it resumes.
    pub fn notify_modem_state(&mut self, state: u8, out: &mut impl Extend<u8>) {
        if self.options.com_port_is_agreed()
            && let Some(value) = self.notices.modem(state)
        {
            command::notify_modem_state(value, out);
        }
    }

    /// Tells the client what happened on the line ([`line_state`]) if its mask asks for it. While it has suspended,
    /// that is kept, and told when it resumes.
    pub fn notify_line_state(&mut self, state: u8, out: &mut impl Extend<u8>) {
        if self.options.com_port_is_agreed()
            && let Some(value) = self.notices.line(state)
        {
            command::notify_line_state(value, out);
        }
    }

    /// Whether changes of the modem lines would be told.
    pub fn watches_modem_lines(&self) -> bool {
        self.options.com_port_is_agreed() && self.notices.modem_mask != 0
    }

    /// Whether breaks and receive errors would be told: only then is it worth having the tty mark them.
    pub fn watches_line_errors(&self) -> bool {
        const MARKED: u8 = line_state::BREAK | line_state::FRAMING | line_state::PARITY;
        self.options.com_port_is_agreed() && self.notices.line_mask & MARKED != 0
    }

    /// Whether the client wants no data now.
    pub fn is_suspended(&self) -> bool {
        self.notices.suspended
    }

    /// Whether the client speaks RFC 2217: agreed, and not taken back.
    pub fn is_com_port(&self) -> bool {
        self.options.com_port_is_agreed()
    }

    /// Takes data off the input: its first byte, whatever it is, and what follows up to something that is none.
    fn run<'a>(&mut self, input: &mut &'a [u8]) -> &'a [u8] {
        self.state = State::Data;
        let (first, rest) = input.split_at_checked(1).unwrap_or_default();
        let length = if self.options.client_is_binary() {
            escape::position_of_iac(rest)
        } else {
            let mut before = first.first().copied();
            rest.iter().position(|&byte| {
                let ends = byte == IAC || (byte == 0 && before == Some(CR));
                before = Some(byte);
                ends
            })
        };
        let end = length.map_or(input.len(), |length| length + 1);
        let (run, rest) = input.split_at_checked(end).unwrap_or_default();
        *input = rest;
        self.after_cr = run.last() == Some(&CR);
        run
    }

    fn command(&mut self, byte: u8, out: &mut impl Extend<u8>) -> Option<Event<'static>> {
        self.state = State::Data;
        match byte {
            SB => {
                self.subnegotiation = Subnegotiation::default();
                self.state = State::Subnegotiation;
            }
            WILL => self.state = State::Option(Verb::Will),
            WONT => self.state = State::Option(Verb::Wont),
            DO => self.state = State::Option(Verb::Do),
            DONT => self.state = State::Option(Verb::Dont),
            BREAK => return Some(Event::Attention(Attention::Break)),
            DATA_MARK => return Some(Event::Attention(Attention::DataMark)),
            ARE_YOU_THERE => out.extend(I_AM_HERE),
            // NOP, GA and what only a host with a user can do.
            _ => {}
        }
        None
    }

    fn negotiate(&mut self, verb: Verb, option: u8, out: &mut impl Extend<u8>) -> Option<Event<'static>> {
        let was_agreed = self.options.com_port_is_agreed();
        self.options.receive(verb, option, out);
        match (was_agreed, self.options.com_port_is_agreed()) {
            // pyserial knows no modem line before it was told one.
            (false, true) => Some(Event::Request(Request::ModemState)),
            (true, false) => {
                let was_suspended = self.notices.suspended;
                self.notices = Notices::default();
                was_suspended.then_some(Event::Attention(Attention::Resume))
            }
            _ => None,
        }
    }

    /// `complete`: it was ended by IAC SE.
    fn subnegotiated(&mut self, complete: bool, out: &mut impl Extend<u8>) -> Option<Event<'static>> {
        let [options::COM_PORT, code, payload @ ..] = self.subnegotiation.bytes() else { return None };
        // Clients that do not wait for the agreement are served; one that refused it is not.
        if !self.options.com_port_may_be_used() {
            return None;
        }
        let payload = if complete { payload } else { &[] };
        let request = match *code {
            command::SIGNATURE => {
                command::answer_signature(out);
                return None;
            }
            command::SUSPEND if complete => {
                let suspends = !self.notices.suspended;
                self.notices.suspended = true;
                return suspends.then_some(Event::Attention(Attention::Suspend));
            }
            command::RESUME if complete => return self.resume(out),
            command::BAUD_RATE => {
                self.baud_rate_is_index = payload.len() == 1;
                Request::BaudRate(command::baud_rate(payload))
            }
            command::LINE_STATE_MASK => {
                if let [mask] = *payload {
                    self.notices.line_mask = mask;
                }
                Request::LineStateMask(self.notices.line_mask)
            }
            command::MODEM_STATE_MASK => {
                if let [mask] = *payload {
                    self.notices.modem_mask = mask;
                }
                Request::ModemStateMask(self.notices.modem_mask)
            }
            code => command::request(code, payload)?,
        };
        Some(Event::Request(request))
    }

    fn resume(&mut self, out: &mut impl Extend<u8>) -> Option<Event<'static>> {
        if !self.notices.suspended {
            return None;
        }
        let (modem, line) = self.notices.resume();
        if self.options.com_port_is_agreed() {
            if let Some(value) = modem {
                command::notify_modem_state(value, out);
            }
            if let Some(value) = line {
                command::notify_line_state(value, out);
            }
        }
        Some(Event::Attention(Attention::Resume))
    }
}

// No allocation per byte, chunk or client, and memory bounded: a session owns no heap, and is small.
const _: () = assert!(!std::mem::needs_drop::<Session>() && size_of::<Session>() <= 128);
