//! Being asked to stop: SIGTERM from a service manager, SIGINT from a terminal; and to read things again: SIGHUP.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `tell` at each request to stop, until it returns `false`. Needs a tokio runtime around it.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn on_stop(tell: impl Fn() -> bool + Clone + Send + 'static) -> io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signals, tell) = (signal(kind)?, tell.clone());
        tokio::spawn(async move { while signals.recv().await.is_some() && tell() {} });
    }
    Ok(())
}

/// Calls `tell` at each request to read things again, until it returns `false`. Needs a tokio runtime around it.
///
/// # Errors
/// When the kernel refuses a handler.
pub fn on_reload(tell: impl Fn() -> bool + Send + 'static) -> io::Result<()> {
    let mut signals = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while signals.recv().await.is_some() && tell() {} });
    Ok(())
}
