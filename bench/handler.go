package main

import (
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// serveHandler is the function everybody forwards to: a plain net/http server.
func serveHandler() error {
	addr := "127.0.0.1:" + os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("Hello, world"))
	}))
}

// serveReverseProxy is the peer every Go program could be.
func serveReverseProxy(listen, upstream string) error {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: upstream})
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	proxy.Transport = transport
	return http.ListenAndServe(listen, proxy)
}
