//! New settings in place: clients are kept, except those that the new settings do not allow.

use serialfleet_api::fleet::ClientPolicy;
use tokio::time::Instant;

use super::{Command, EndReason, Port, PortSettings, arrivals::TAKEOVER, client::Client};

impl Port {
    pub(super) fn apply(&mut self, settings: PortSettings) {
        let before = std::mem::replace(&mut self.settings, settings);
        // After a release there is no listener, whatever the addresses.
        let moved = self.settings.moves(&before);
        let changed = moved || self.listener.is_none() || before.may_listen() != self.settings.may_listen();
        if changed && self.device.is_some() && self.drain_until.is_none() {
            self.listen();
        }
        // Only now: who comes back at once finds the new listener, not the end of the old one.
        if moved {
            self.end_all(EndReason::Reconfigured);
        }
        if before.line != self.settings.line {
            self.remember_line();
        }
        if before.idle_timeout.is_none() {
            // Nobody counted until now.
            self.clients.iter_mut().for_each(Client::touch);
        }
        if before.policy != self.settings.policy {
            let takeover = self.settings.policy == ClientPolicy::Takeover;
            let takes_over = takeover.then(|| Instant::now() + TAKEOVER);
            self.newcomers.iter_mut().for_each(|newcomer| newcomer.takes_over = takes_over);
        }
        for newcomer in std::mem::take(&mut self.newcomers) {
            if self.allowed(&newcomer.client.peer) {
                self.newcomers.push(newcomer);
            } else {
                self.turn_away(newcomer.client.peer, EndReason::NotAllowed, "", true);
            }
        }
        let mut at = 0;
        while let Some(client) = self.clients.get(at) {
            if self.allowed(&client.peer) {
                client.set_keepalive(self.settings.keepalive);
                at += 1;
            } else {
                self.end(at, EndReason::NotAllowed);
            }
        }
        if self.settings.policy == ClientPolicy::Share {
            while self.clients.len() > self.settings.max {
                self.end(self.clients.len() - 1, EndReason::TooMany);
            }
        }
    }

    /// Whether what is gathered must be delivered before `command` is obeyed. An edit of something else does not
    /// tear a frame.
    pub(super) fn ends_frame(&self, command: &Command) -> bool {
        match command {
            Command::Settings(settings) => {
                settings.frame_gap != self.settings.frame_gap || settings.moves(&self.settings)
            }
            _ => true,
        }
    }
}
