//! Futures that run at the same time within one task.

use std::future::{Future, poll_fn};
use std::task::Poll;

/// Runs all `futures`, and calls `polled` each time they have been polled.
///
/// Each wake-up polls those that have not ended, so it is meant for a few dozen.
pub(crate) async fn join<F: Future<Output = ()>>(
    futures: impl IntoIterator<Item = F>,
    mut polled: impl FnMut(),
) {
    let mut open: Vec<_> = futures.into_iter().map(Box::pin).collect();
    poll_fn(|cx| {
        open.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        polled();
        if open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Runs all `futures`, and returns their outputs in the same order.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut open: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut outputs: Vec<Option<F::Output>> = open.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut is_pending = false;
        for (future, output) in open.iter_mut().zip(&mut outputs) {
            let Some(running) = future else { continue };
            match running.as_mut().poll(cx) {
                Poll::Ready(ended) => {
                    *output = Some(ended);
                    *future = None;
                }
                Poll::Pending => is_pending = true,
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn outputs_come_in_the_order_of_the_futures() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut sender = Some(sender);
        let mut receiver = Some(receiver);
        // The first waits for the last.
        let futures = (0..3).map(|number| {
            let (sender, receiver) = match number {
                0 => (None, receiver.take()),
                2 => (sender.take(), None),
                _ => (None, None),
            };
            async move {
                if let Some(receiver) = receiver {
                    receiver.await.unwrap();
                }
                if let Some(sender) = sender {
                    sender.send(()).unwrap();
                }
                number
            }
        });
        assert_eq!(join_all(futures).await, [0, 1, 2]);
        assert!(join_all(std::iter::empty::<std::future::Ready<()>>()).await.is_empty());
    }
}
