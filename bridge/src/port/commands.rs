//! What the supervisor tells a port, and what that does to tty, listener and clients. Must not know why it is told.

use tokio::time::Instant;

use super::{
    Command, EndReason, PAUSE, Port, device::Device, listener::Listener, output::Output, writers::ToDevice,
};

impl Port {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Attach { tty, same_device } => {
                if !same_device {
                    self.end_all(EndReason::DeviceChanged);
                }
                self.held_since = None;
                self.to_device = ToDevice::default();
                match Device::new(tty) {
                    Ok(device) => {
                        self.device = Some(device);
                        self.adopt_overlay();
                        self.listen();
                    }
                    Err(error) => {
                        tracing::error!(port = self.name, %error, "the tty cannot be waited for");
                        if !self.clients.is_empty() {
                            self.held_since = Some(Instant::now());
                        }
                        // Nothing that the link shows has changed, and yet the supervisor must know.
                        self.changed.notify_one();
                    }
                }
            }
            Command::Detach(None) => self.device_gone(),
            Command::Detach(Some(reason)) => {
                self.hand_back();
                self.let_go();
                self.end_all(reason);
            }
            Command::EndHold(reason) => {
                if self.held_since.take().is_some() {
                    self.end_all(reason);
                }
            }
            Command::Release(released) => {
                self.listener = None;
                self.listen_error = None;
                self.end_all(EndReason::Reconfigured);
                // Settings follow, and with them the next listener: until then the link shows the last one.
                self.dirty = false;
                drop(released);
                return;
            }
            Command::Settings(settings) => self.apply(settings),
            Command::Drain(deadline) => {
                self.listener = None;
                self.end_newcomers(EndReason::Shutdown);
                // Nobody waits for the device any more.
                self.drop_to_device();
                self.drain_until = Some(deadline);
            }
        }
        self.publish();
    }

    pub(super) fn listen(&mut self) {
        self.listener = None;
        if !self.settings.may_listen() {
            self.listen_error = None;
            self.paused_until = None;
            return;
        }
        match Listener::bind(&self.settings.listen) {
            Ok(listener) => {
                tracing::info!(port = self.name, addresses = ?listener.addresses(), "listening");
                self.listener = Some(listener);
                self.listen_error = None;
                self.paused_until = None;
            }
            Err((address, error)) => {
                let message = format!("cannot listen on {address}: {error}");
                if self.listen_error.as_ref() != Some(&message) {
                    tracing::warn!(port = self.name, "{message}");
                }
                self.listen_error = Some(message);
                self.paused_until = Some(Instant::now() + PAUSE);
            }
        }
    }

    fn let_go(&mut self) {
        self.device = None;
        self.listener = None;
        self.listen_error = None;
        self.end_newcomers(EndReason::Reconfigured);
        self.drop_to_device();
        self.output = Output::default();
        self.line_is_gone();
        self.remember_line();
        self.dirty = true;
    }

    /// Unplugged: clients are held, new connections refused.
    pub(super) fn device_gone(&mut self) {
        if self.device.is_none() {
            return;
        }
        self.let_go();
        if !self.clients.is_empty() {
            self.held_since = Some(Instant::now());
        }
    }
}
