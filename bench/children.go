package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// child is this program in another role: it says on standard output where it
// serves, and ends when standard input does.
type child struct {
	cmd  *exec.Cmd
	log  bytes.Buffer
	addr string
}

func startChild(ctx context.Context, role, dir string) (*child, error) {
	c := &child{cmd: exec.CommandContext(ctx, os.Args[0], role, dir)}
	c.cmd.Stderr = &c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if c.addr = strings.TrimSpace(line); err != nil {
		c.stop()
		return nil, fmt.Errorf("%s: %w: %s", role, err, c.log.String())
	}
	return c, nil
}

func (c *child) stop() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// serveEtcd is a single member of etcd that syncs to disk, as one in service does.
func serveEtcd(dir string) error {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = dir, "fatal", []string{"stderr"}
	client, peer := url.URL{Scheme: "http"}, url.URL{Scheme: "http"}
	for _, u := range []*url.URL{&client, &peer} {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		u.Host = addr
	}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.Name + "=" + peer.String()
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer server.Close()
	select {
	case <-server.Server.ReadyNotify():
		fmt.Println(client.String())
	case <-time.After(time.Minute):
		return fmt.Errorf("etcd is not ready")
	}
	return <-server.Err()
}

// smallBody is about the size of a secret's answer, in bytes.
const smallBody = 420

// serveTLS answers everything with as many bytes as an app has, or at /small as a
// secret has, over TLS like the platform's: what its APIs could do at best. It gives tokens too, so that
// the same client can be used, and leaves its credential in dir.
func serveTLS(dir string) error {
	text, err := localca.Generate("bench", []string{"localhost"}, time.Now())
	if err != nil {
		return err
	}
	ca, err := localca.Open(text, clock.Real{}, func(string) bool { return true })
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	url := fmt.Sprintf("https://localhost:%d", l.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), ca.PEM(), 0o600); err != nil {
		return err
	}
	owner := fmt.Sprintf(`{"endpoint":%q,"caFile":%q,"tenantId":"t","subscriptionId":"s","clientId":"c","clientSecret":"x"}`, url, filepath.Join(dir, "ca.pem"))
	if err := os.WriteFile(filepath.Join(dir, "owner.json"), []byte(owner), 0o600); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"access_token": "x", "expires_in": 86400, "padding": rand.Text() + strings.Repeat("x", 3<<10)})
	if err != nil {
		return err
	}
	fmt.Println(url)
	server := &http.Server{TLSConfig: ca.TLS(), ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/small" {
			_, _ = w.Write(body[:smallBody])
			return
		}
		_, _ = w.Write(body)
	})}
	return server.ServeTLS(l, "", "")
}
