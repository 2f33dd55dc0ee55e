// Command bench measures Latchkey against its peers and its limits on one
// machine: interleaved rounds, medians, ratios. It starts everything itself,
// needs wrk and nginx on the PATH, and knows nothing of Latchkey's inside: it
// drives the built binary. Package seed, which fills a state, does know.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

type options struct {
	binary  string
	rounds  int
	seconds int
	conns   int
	idle    int
	only    string
	workers string // directory of language workers to measure beside our own
	dir     string // of the seeded installation; "" is one that goes away
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "handler" {
		fatal(serveHandler())
	}
	if len(os.Args) > 3 && os.Args[1] == "reverseproxy" {
		fatal(serveReverseProxy(os.Args[2], os.Args[3]))
	}
	if len(os.Args) > 2 && os.Args[1] == "etcd" {
		fatal(serveEtcd(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == "tls" {
		fatal(serveTLS(os.Args[2]))
	}
	if len(os.Args) > 1 && os.Args[1] == "workload" {
		fatal(serveWorkload())
	}
	if len(os.Args) > 1 && os.Args[1] == "json" {
		fatal(serveJSON())
	}
	var o options
	flag.StringVar(&o.binary, "latchkey", "bin/latchkey", "the binary to measure")
	flag.IntVar(&o.rounds, "rounds", 5, "interleaved rounds")
	flag.IntVar(&o.seconds, "seconds", 5, "seconds per measurement")
	flag.IntVar(&o.conns, "connections", 64, "load connections")
	flag.IntVar(&o.idle, "idle", 10_000, "idle keep-alive connections to hold")
	flag.StringVar(&o.only, "only", "", "one part: start, load, crash, idle, keys, limits, scale, management, identity, vault, references, workers or portal")
	flag.StringVar(&o.workers, "workers-dir", "", "directory of further language workers; its worker for node is measured too")
	flag.StringVar(&o.dir, "scale-dir", "", "data folder to seed for scale and to keep; it can be used again")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fatal(run(ctx, o))
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures each part and prints it as Markdown.
func run(ctx context.Context, o options) error {
	parts := []struct {
		name string
		do   func(context.Context, options) error
	}{{"start", measureStart}, {"load", measureLoad}, {"crash", measureCrashes}, {"idle", measureIdle}, {"keys", measureKeys}, {"limits", measureLimits},
		{"scale", measureScale}, {"management", measureManagement},
		{"identity", measureIdentity}, {"vault", measureVault}, {"references", measureReferences}, {"workers", measureWorkers}, {"portal", measurePortal}}
	fmt.Printf("Measured %s, %d rounds of %d s, %d connections.\n", time.Now().UTC().Format("2006-01-02"), o.rounds, o.seconds, o.conns)
	for _, p := range parts {
		if o.only != "" && o.only != p.name {
			continue
		}
		if err := p.do(ctx, o); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
