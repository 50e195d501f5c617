//! Connections: how many, how large, for how long. What is answered is not decided here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use super::{Listening, Response};

/// What clients may take. There are few on loopback, but a stuck one must not shut out the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Served at once; further clients wait in the kernel's backlog, where they cost nothing.
    pub(super) connections: usize,
    /// For a request's whole head, counted from the end of the answer before it: idle connections
    /// are closed by it too.
    pub(super) head: Duration,
    pub(super) head_bytes: usize,
    /// For making an answer.
    pub(super) answer: Duration,
    /// How long a client may take nothing of what is sent to it.
    pub(super) stall: Duration,
    /// Between two tries to get the port.
    pub(super) retry: Duration,
    /// How long answers under way may still take once the daemon stops.
    pub(super) drain: Duration,
    /// Streams open at once. The rest of the connections is for everybody else.
    pub(super) streams: usize,
    /// Between two signs of life of a stream that has nothing to tell.
    pub(super) heartbeat: Duration,
}

pub(super) const LIMITS: Limits = Limits {
    connections: 32,
    head: Duration::from_secs(5),
    head_bytes: 16 << 10,
    answer: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    retry: Duration::from_secs(30),
    drain: Duration::from_secs(1),
    streams: 16,
    heartbeat: Duration::from_secs(15),
};

/// How long accepting rests when the process is out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(500);

/// Waits until the daemon stops; a sender that is gone says the same.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    _ = stop.wait_for(|stop| *stop).await;
}

/// Takes the port, however long another program holds it. `None` when stopped first.
pub(super) async fn bind(
    address: SocketAddr,
    limits: Limits,
    stop: &mut watch::Receiver<bool>,
    listening: &watch::Sender<Listening>,
) -> Option<(TcpListener, SocketAddr)> {
    loop {
        let bound = match TcpListener::bind(address).await {
            Ok(listener) => listener.local_addr().map(|bound| (listener, bound)),
            Err(e) => Err(e),
        };
        match bound {
            Ok((listener, bound)) => {
                listening.send_replace(Listening::At(bound));
                return Some((listener, bound));
            }
            Err(e) => refuse(Listening::Refused { address, reason: e.to_string() }, listening),
        }
        tokio::select! {
            () = sleep(limits.retry) => {}
            () = stopped(stop) => return None,
        }
    }
}

/// Says once why the port cannot be had, however often it is tried.
fn refuse(refused: Listening, listening: &watch::Sender<Listening>) {
    listening.send_if_modified(|before| {
        let is_news = *before != refused;
        if is_news {
            tracing::warn!("{}\nhint: set `listen` to a free port", refused.describe());
            *before = refused;
        }
        is_news
    });
}

/// Answers requests until the daemon stops, then lets answers under way end.
pub(super) async fn serve<A, F>(
    listener: TcpListener,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
    answer: A,
) where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut accepts = true;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => complain(ended),
            Some((place, stream)) = accept(&listener, &places, &mut accepts) => {
                let connection = talk(stream, limits, stop.clone(), answer.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    let drained = timeout(limits.drain, async {
        while let Some(ended) = connections.join_next().await {
            complain(ended);
        }
    });
    if drained.await.is_err() {
        connections.shutdown().await;
    }
}

/// The next client, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    accepts: &mut bool,
) -> Option<(OwnedSemaphorePermit, TcpStream)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                *accepts = true;
                return Some((place, stream));
            }
            Err(e) if is_of_one_client(&e) => {}
            Err(e) => {
                if std::mem::take(accepts) {
                    tracing::warn!("cannot accept connections: {e}");
                }
                sleep(ACCEPT_REST).await;
            }
        }
    }
}

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn complain(ended: Result<(), tokio::task::JoinError>) {
    if let Err(e) = ended {
        tracing::error!("answering a request failed: {e}");
    }
}

/// One connection, from its first request to its last.
async fn talk<A, F>(stream: TcpStream, limits: Limits, mut stop: watch::Receiver<bool>, answer: A)
where
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response>,
{
    // Answers are sent whole: waiting for more to send with them only delays them.
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("a connection was gone before its first request: {e}");
        return;
    }
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answer.await) }
    });
    let mut connection = pin!(
        Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(limits.head_bytes)
            .serve_connection(TokioIo::new(Impatient::new(stream, limits.stall)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        // Clients that leave or dawdle are everyday.
        tracing::debug!("a connection ended early: {e}");
    }
}

/// A stream that gives up on a peer which takes nothing of what is written to it.
struct Impatient<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits for the peer.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waiting: None }
    }

    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::super::body::Body;
    use super::super::testing::{Reply, exchange, read, soon, write_all};
    use super::*;

    /// A server whose answers wait until the test lets them go.
    struct Server {
        address: SocketAddr,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
        /// Requests being answered now, and the most there ever were.
        under_way: watch::Receiver<usize>,
        most: Arc<AtomicUsize>,
        leave: Arc<Semaphore>,
    }

    impl Server {
        async fn start(limits: Limits) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = watch::channel(false);
            let (count, under_way) = watch::channel(0);
            let (most, leave) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
            let (seen, left) = (Arc::clone(&most), Arc::clone(&leave));
            let task = tokio::spawn(serve(listener, limits, stopped, move |_| {
                let (count, seen, left) = (count.clone(), Arc::clone(&seen), Arc::clone(&left));
                async move {
                    count.send_modify(|n| *n += 1);
                    seen.fetch_max(*count.borrow(), Ordering::SeqCst);
                    left.acquire().await.unwrap().forget();
                    count.send_modify(|n| *n -= 1);
                    Response::new(Body::whole("done"))
                }
            }));
            Self { address, stop, task, under_way, most, leave }
        }

        async fn wait_for(&mut self, under_way: usize) {
            soon(self.under_way.wait_for(|n| *n == under_way)).await.unwrap();
        }

        async fn send(&self, text: &str) -> TcpStream {
            let stream = TcpStream::connect(self.address).await.unwrap();
            write_all(&stream, text.as_bytes()).await.unwrap();
            stream
        }
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    const LAST_REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn h54_a_taken_port_is_waited_for() {
        let occupant = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = occupant.local_addr().unwrap();
        let (stop, mut stopped) = watch::channel(false);
        let (listening, mut seen) = watch::channel(Listening::NotYet);
        let limits = Limits { retry: Duration::from_millis(5), ..LIMITS };
        let binding =
            tokio::spawn(async move { bind(address, limits, &mut stopped, &listening).await });
        let refused = |state: &Listening| matches!(state, Listening::Refused { .. });
        soon(seen.wait_for(refused)).await.unwrap();
        drop(occupant);
        let (_listener, bound) = soon(binding).await.unwrap().unwrap();
        assert_eq!(bound, address);
        assert_eq!(*seen.borrow(), Listening::At(address));
        drop(stop);
    }

    #[test]
    fn h54_the_reason_is_told_once() {
        let (listening, mut seen) = watch::channel(Listening::NotYet);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8474));
        for (reason, is_news) in [("in use", true), ("in use", false), ("denied", true)] {
            refuse(Listening::Refused { address, reason: reason.to_owned() }, &listening);
            assert_eq!(seen.has_changed().unwrap(), is_news, "{reason}");
            seen.mark_unchanged();
        }
    }

    #[tokio::test]
    async fn h54_waiting_for_a_port_ends_with_the_daemon() {
        let occupant = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = occupant.local_addr().unwrap();
        let (stop, mut stopped) = watch::channel(false);
        let (listening, mut seen) = watch::channel(Listening::NotYet);
        let binding =
            tokio::spawn(async move { bind(address, LIMITS, &mut stopped, &listening).await });
        soon(seen.changed()).await.unwrap();
        stop.send_replace(true);
        assert!(soon(binding).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn h55_slow_clients_are_closed_after_five_seconds() {
        let server = Server::start(LIMITS).await;
        server.leave.add_permits(1);
        let started = Instant::now();
        let silent = server.send("").await;
        let half = server.send("GET / HTTP/1.1\r\nHost: lo").await;
        let idle = server.send(REQUEST).await;
        let dripping = Arc::new(server.send("GET / HTTP/1.1\r\nX: ").await);
        let tap = Arc::clone(&dripping);
        let tap = tokio::spawn(async move {
            while write_all(&tap, b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        let closed =
            async |stream: &TcpStream| (Reply::read(stream).await.status, started.elapsed());
        let (silent, half, idle, dripping) =
            tokio::join!(closed(&silent), closed(&half), closed(&idle), closed(&dripping));
        tap.abort();
        assert_eq!(idle.0, 200, "an idle client is one that was answered");
        for (_, after) in [silent, half, idle, dripping] {
            assert!((4_900..9_000).contains(&after.as_millis()), "closed after {after:?}");
        }
    }

    #[tokio::test]
    async fn h55_a_long_head_is_refused() {
        let server = Server::start(LIMITS).await;
        let long = "x".repeat(40_000);
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n");
        assert_eq!(exchange(server.address, &request).await.status, 431);
    }

    #[tokio::test]
    async fn h55_clients_above_the_limit_wait_and_are_then_answered() {
        let mut server = Server::start(LIMITS).await;
        let mut clients = Vec::new();
        for _ in 0..40 {
            clients.push(server.send(LAST_REQUEST).await);
        }
        server.wait_for(LIMITS.connections).await;
        // Whatever else could be accepted has its chance here.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        server.leave.add_permits(clients.len());
        for client in clients {
            assert_eq!(Reply::read(&client).await.status, 200);
        }
        assert_eq!(server.most.load(Ordering::SeqCst), LIMITS.connections);
    }

    /// A peer that takes every other write.
    struct Sluggish {
        takes: bool,
        turns: bool,
    }

    impl AsyncWrite for Sluggish {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            if this.takes {
                this.takes = false;
                return Poll::Ready(Ok(bytes.len()));
            }
            if this.turns {
                this.takes = true;
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn h55_a_peer_that_takes_nothing_is_given_up() {
        let peer = Sluggish { takes: true, turns: true };
        let mut peer = Impatient::new(peer, Duration::from_millis(20));
        let started = Instant::now();
        // One that goes on taking is served, however long it takes in all.
        while started.elapsed() < Duration::from_millis(60) {
            let written = poll_fn(|context| Pin::new(&mut peer).poll_write(context, b"x")).await;
            assert_eq!(written.unwrap(), 1);
        }
        peer.stream = Sluggish { takes: false, turns: false };
        let written = soon(poll_fn(|context| Pin::new(&mut peer).poll_write(context, b"x"))).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn stopping_closes_idle_connections_at_once() {
        let limits =
            Limits { head: Duration::from_secs(60), drain: Duration::from_secs(60), ..LIMITS };
        let server = Server::start(limits).await;
        server.leave.add_permits(1);
        let idle = server.send(REQUEST).await;
        assert!(soon(read(&idle, &mut [0; 1024])).await.unwrap() > 0);
        server.stop.send_replace(true);
        soon(server.task).await.unwrap();
    }

    #[tokio::test]
    async fn stopping_lets_answers_end_and_waits_for_nobody_else() {
        let mut server = Server::start(LIMITS).await;
        let answered = server.send(REQUEST).await;
        server.wait_for(1).await;
        let idle = server.send("").await;
        let half = server.send("GET / HT").await;
        let stuck = server.send(REQUEST).await;
        server.wait_for(2).await;
        let started = Instant::now();
        server.stop.send_replace(true);
        server.leave.add_permits(1);
        soon(&mut server.task).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
        assert_eq!(Reply::read(&answered).await.status, 200);
        for client in [&idle, &half, &stuck] {
            assert_eq!(Reply::read(client).await.status, 0);
        }
        assert!(TcpStream::connect(server.address).await.is_err());
    }
}
