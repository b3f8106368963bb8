//! Requests that somebody tries from the dashboard. They take the way of every other request, over a
//! pair of sockets instead of a port: no TLS, no name and no address stand in between, and limits,
//! cache, cost and records are what they always are.
//!
//! No task drives them: who waits for the next frame of the answer moves both ends.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use isango_control::{Rehearse, Rehearsed, Tried, Try};
use isango_proxy::Proxy;
use isango_proxy::serve::{self, Protocol};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// What sends requests to the data plane, and what ends all of them when it is sent `true`.
pub(crate) fn trials(proxy: &Arc<Proxy>) -> (watch::Sender<bool>, Box<Try>) {
    let (end, ended) = watch::channel(false);
    let proxy = Arc::clone(proxy);
    let send =
        move |request| -> Tried { Box::pin(send(Arc::clone(&proxy), request, ended.clone())) };
    (end, Box::new(send))
}

/// What asks the data plane what would become of a request.
pub(crate) fn rehearsals(proxy: &Arc<Proxy>) -> Box<Rehearse> {
    let proxy = Arc::clone(proxy);
    Box::new(move |request, token| -> Rehearsed {
        let proxy = Arc::clone(&proxy);
        Box::pin(async move { proxy.rehearse(request, token).await })
    })
}

/// Sends a request to the data plane, and returns its answer with the head. It is cut when `ended`
/// becomes true.
///
/// # Errors
/// No sockets can be had, or the data plane closed the connection.
async fn send(
    proxy: Arc<Proxy>,
    request: Request<Bytes>,
    ended: watch::Receiver<bool>,
) -> io::Result<Response<Body>> {
    let (near, far) = UnixStream::pair()?;
    let served = serve::connection(proxy, (Bytes::new(), far), Protocol::Http1, ended.clone());
    let (mut sender, driven) = http1::handshake(TokioIo::new(near))
        .await
        .map_err(io::Error::other)?;
    let mut way = Way {
        ends: [
            Some(Box::pin(served)),
            Some(Box::pin(async move {
                // Its failure is told by the answer.
                driven.await.ok();
            })),
        ],
        ended: Box::pin(over(ended)),
    };
    let mut answering = pin!(sender.send_request(request.map(Full::new)));
    let answer = poll_fn(|context| {
        if let Some(cut) = way.poll(context) {
            return Poll::Ready(Err(cut));
        }
        answering.as_mut().poll(context).map_err(io::Error::other)
    });
    let answer = answer.await?;
    Ok(answer.map(|body| Body::new(Answer { way, body })))
}

async fn over(mut ended: watch::Receiver<bool>) {
    // Whoever could end it is gone: it is over, too.
    ended.wait_for(|ended| *ended).await.ok();
}

type Driven = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Both ends of the connection.
struct Way {
    /// `None` once they have ended.
    ends: [Option<Driven>; 2],
    ended: Driven,
}

impl Way {
    /// Moves both ends on; an error once it is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        if self.ended.as_mut().poll(context).is_ready() {
            self.ends = [None, None];
            return Some(io::Error::other("the server stops"));
        }
        for end in &mut self.ends {
            if end
                .as_mut()
                .is_some_and(|end| end.as_mut().poll(context).is_ready())
            {
                *end = None;
            }
        }
        None
    }
}

/// The body of an answer.
struct Answer {
    way: Way,
    body: Incoming,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(cut) = self.way.poll(context) {
            return Poll::Ready(Some(Err(cut)));
        }
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map(|frame| frame.map(|frame| frame.map_err(io::Error::other)))
    }
}
