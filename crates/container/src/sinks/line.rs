//! Connections to sinks. Whoever writes looks at the lease right before each write (rule 4), and at the lease's end they are
//! all reset: what the kernel has not sent by then goes nowhere.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::targets::{Endpoint, TlsFiles};
use crate::gate::Gate;

/// A connection is there within this, TLS included: a handshake on the other side of the world takes half a second, and a
/// packet that is lost meanwhile another one.
pub(super) const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// What the other side has not acknowledged for so long the kernel gives up, and the connection with it, also while this
/// process stands still and cannot reset it: a lease's usual length.
const UNACKNOWLEDGED_MILLIS_AT_MOST: u32 = 2_000;

/// Makes connections, and resets them.
#[derive(Clone)]
pub(super) struct Lines {
    gate: Gate,
    tls: Option<TlsConnector>,
    open: Arc<Mutex<Vec<Weak<TcpStream>>>>,
}

/// One connection, in the clear or over TLS.
pub(super) enum Line {
    Plain(Gated),
    Tls(Box<TlsStream<Gated>>),
}

/// The bytes of one connection.
pub(super) struct Gated {
    gate: Gate,
    stream: Arc<TcpStream>,
}

/// Resets one connection, whoever has it.
#[derive(Clone, Debug)]
pub(super) struct Cord(Weak<TcpStream>);

impl Lines {
    /// Reads what TLS needs, where that is asked for.
    ///
    /// # Errors
    /// With the file, and what is wrong with it.
    pub(super) fn new(gate: Gate, tls: Option<&TlsFiles>) -> Result<Self, String> {
        Ok(Self { gate, tls: tls.map(connector).transpose()?, open: Arc::default() })
    }

    /// Connects.
    pub(super) async fn connect(&self, to: &Endpoint, secure: bool) -> io::Result<(Line, Cord)> {
        match tokio::time::timeout(CONNECTED_WITHIN, self.connect_now(to, secure)).await {
            Ok(connected) => connected,
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECTED_WITHIN:?}")))
            }
        }
    }

    async fn connect_now(&self, to: &Endpoint, secure: bool) -> io::Result<(Line, Cord)> {
        let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MILLIS_AT_MOST)?;
        let stream = Arc::new(stream);
        let cord = Cord(Arc::downgrade(&stream));
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.retain(|stream| stream.strong_count() > 0);
            open.push(cord.0.clone());
        }
        let gated = Gated { gate: self.gate.clone(), stream };
        let Some(connector) = self.tls.as_ref().filter(|_| secure) else { return Ok((Line::Plain(gated), cord)) };
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        Ok((Line::Tls(Box::new(connector.connect(name, gated).await?)), cord))
    }

    /// The lease has ended: every connection is reset.
    pub(super) fn reset(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for stream in open {
            Cord(stream).cut();
        }
    }
}

impl Cord {
    /// Resets the connection; what the kernel has not sent is thrown away.
    pub(super) fn cut(&self) {
        if let Some(stream) = self.0.upgrade() {
            // One that has ended already cannot be reset, and need not be.
            let _ = rustix::net::connect_unspec(&*stream);
        }
    }
}

impl AsyncRead for Gated {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Gated {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            // The look right before the act, by whoever performs it (rule 4).
            if !self.gate.is_open() {
                let why = "the lease has ended: nothing more is sent";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why)));
            }
            match self.stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Write);
        Poll::Ready(done.map_err(io::Error::from))
    }
}

impl AsyncRead for Line {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(plain) => Pin::new(plain).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

fn connector(files: &TlsFiles) -> Result<TlsConnector, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(trusted(files.ca.as_deref())?);
    let config = match (&files.certificate, &files.key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            builder.with_client_auth_cert(certificates(certificate)?, key).map_err(|error| error.to_string())?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err("a certificate of our own needs its key, and a key its certificate".to_owned());
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn trusted(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(
                "this system trusts no certificates (Debian's package `ca-certificates` brings the usual ones)".into(),
            );
        }
        return Ok(roots);
    };
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unusable(path, &error))?;
    if found.is_empty() {
        return Err(format!("`{}` holds no certificate", path.display()));
    }
    Ok(found)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("cannot use `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use st2sa_core::names::SensorRef;
    use st2sa_core::time::{Span, Time};
    use st2sa_machine::clock;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn lines(end: Time) -> Lines {
        Lines::new(Gate::for_test(end, &SensorRef::new("p.X"), &[]), None).unwrap()
    }

    async fn connected(lines: &Lines) -> (Line, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = Endpoint { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let (line, _) = lines.connect(&to, false).await.unwrap();
        (line, listener.accept().unwrap().0)
    }

    #[tokio::test]
    async fn nothing_is_written_after_the_leases_end() {
        let (mut line, mut server) = connected(&lines(clock::now())).await;
        let error = line.write_all(b"late").await.unwrap_err();
        assert!(error.to_string().contains("the lease has ended"), "{error}");
        drop(line);
        assert_eq!(server.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_kernel_has_not_sent_when_lines_are_reset_goes_nowhere() {
        let lines = lines(clock::now() + Span::from_secs(60));
        let (mut line, mut server) = connected(&lines).await;
        // Nobody reads: both kernels' buffers fill.
        let mut written = 0;
        let chunk = vec![7; 64 * 1024];
        while let Ok(taken) = tokio::time::timeout(Duration::from_millis(200), line.write(&chunk)).await {
            written += taken.unwrap();
        }
        lines.reset();
        assert!(line.write_all(b"x").await.is_err());
        let mut arrived = Vec::new();
        let ended = server.read_to_end(&mut arrived);
        assert!(ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset));
        assert!(arrived.len() < written, "all of the {written} bytes arrived");
    }
}
