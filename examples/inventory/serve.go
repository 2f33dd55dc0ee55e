package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
)

const (
	orderTime = time.Second            // that working on an order takes
	idleTime  = 500 * time.Millisecond // between looks at an empty queue
	maxOrders = 100                    // that one request may make
)

// serve tells of the stock and works on orders from the queue, one at a time.
func serve(ctx context.Context) error {
	text, err := os.ReadFile(stockFile())
	if err != nil {
		return fmt.Errorf("the init container left no stock list: %w", err)
	}
	var s stock
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("the stock list cannot be read: %w", err)
	}
	orders, err := openQueue()
	if err != nil {
		return err
	}
	log.Print("serving the stock list that key ", s.LoadedBy, " loaded")
	go work(ctx, orders)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"items": s.Items, "loadedBy": s.LoadedBy, "labelKey": fingerprint(os.Getenv("LABEL_KEY"))})
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) { order(w, r, orders) })
	return listen(ctx, mux)
}

// listen serves until ctx ends. The process engine says by PORT where, and on this
// machine only.
func listen(ctx context.Context, h http.Handler) error {
	address := ":8080"
	if port := os.Getenv("PORT"); port != "" {
		address = net.JoinHostPort("127.0.0.1", port)
	}
	server := &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(ended)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(end) // the platform ends what is left
	})()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		<-ended
		return nil
	}
	return err
}

func openQueue() (*azqueue.QueueClient, error) {
	url, err := setting("QUEUE_URL")
	if err != nil {
		return nil, err
	}
	c, err := credential()
	if err != nil {
		return nil, err
	}
	// The queue that stands in for a storage account is on this machine, without TLS:
	// processes find it at loopback, containers at their gateway.
	local := strings.HasPrefix(url, "http://127.0.0.1:") || os.Getenv("QUEUE_HAS_NO_TLS") == "true"
	return azqueue.NewQueueClient(url, c, &azqueue.ClientOptions{ClientOptions: policy.ClientOptions{InsecureAllowCredentialWithHTTP: local}})
}

// work takes orders from the queue until ctx ends.
func work(ctx context.Context, orders *azqueue.QueueClient) {
	said := ""
	for ctx.Err() == nil {
		found, err := workOne(ctx, orders)
		if err != nil && ctx.Err() == nil && brief(err).Error() != said {
			said = brief(err).Error()
			log.Print("error: orders cannot be worked on: ", said)
		}
		if !found {
			pause(ctx, idleTime)
		}
	}
}

func workOne(ctx context.Context, orders *azqueue.QueueClient) (bool, error) {
	got, err := orders.DequeueMessage(ctx, nil)
	if err != nil || len(got.Messages) == 0 {
		return false, err
	}
	pause(ctx, orderTime)
	m := got.Messages[0]
	_, err = orders.DeleteMessage(context.WithoutCancel(ctx), *m.MessageID, *m.PopReceipt, nil)
	return true, err
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// order puts as many orders into the queue as number says.
func order(w http.ResponseWriter, r *http.Request, orders *azqueue.QueueClient) {
	n, err := strconv.Atoi(r.URL.Query().Get("number"))
	if err != nil || n < 1 || n > maxOrders {
		answer(w, http.StatusBadRequest, map[string]any{"error": fmt.Sprintf("number must be 1 to %d", maxOrders)})
		return
	}
	for i := range n {
		if _, err := orders.EnqueueMessage(r.Context(), fmt.Sprintf("order %d", i+1), nil); err != nil {
			log.Print("error: an order cannot be queued: ", brief(err))
			answer(w, http.StatusBadGateway, map[string]any{"error": "orders cannot be queued: " + brief(err).Error()})
			return
		}
	}
	answer(w, http.StatusAccepted, map[string]any{"ordered": n})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller is gone
}
