package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/azfkey"
)

// peer is a running server under measurement.
type peer struct {
	name string
	url  string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

func (p *peer) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// spawn starts a command and waits until its port takes connections.
func spawn(ctx context.Context, name, addr, path string, env []string, args ...string) (*peer, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	p := &peer{name: name, url: "http://" + addr + path, cmd: cmd}
	cmd.Stderr = &p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := awaitPort(ctx, addr); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w: %s", name, err, p.log.String())
	}
	return p, nil
}

func awaitPort(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.New("never listened on " + addr)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func freeAddr() (string, error) {
	port, err := freePort()
	return "127.0.0.1:" + strconv.Itoa(port), err
}

const path = "/api/hello"

func startHandler(ctx context.Context) (*peer, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	addr := "127.0.0.1:" + strconv.Itoa(port)
	p, err := spawn(ctx, "handler, direct", addr, path, []string{"FUNCTIONS_CUSTOMHANDLER_PORT=" + strconv.Itoa(port)}, os.Args[0], "handler")
	return p, addr, err
}

func startReverseProxy(ctx context.Context, upstream string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return spawn(ctx, "httputil.ReverseProxy", addr, path, nil, os.Args[0], "reverseproxy", addr, upstream)
}

const nginxConf = `worker_processes %d; daemon off; pid %s/nginx.pid; error_log stderr error;
events { worker_connections 4096; }
http {
  access_log %s;
  client_body_temp_path %[2]s/b; proxy_temp_path %[2]s/p; fastcgi_temp_path %[2]s/f; uwsgi_temp_path %[2]s/u; scgi_temp_path %[2]s/s;
  upstream handler { server %[4]s; keepalive 128; }
  server { listen %[5]s; location / { proxy_pass http://handler; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`

func startNginx(ctx context.Context, name, dir, upstream, accessLog string, workers int) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, name+".conf")
	text := fmt.Sprintf(nginxConf, workers, dir, accessLog, upstream, addr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return spawn(ctx, name, addr, path, nil, "nginx", "-p", dir, "-c", conf)
}

// latchkey is a running Latchkey with the key of its function.
type latchkey struct {
	*peer
	key string
}

// writeApp makes an app folder whose handler is this program.
func writeApp(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{
		"host.json": fmt.Sprintf(`{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":%q,"arguments":["handler"]},"enableForwardingHttpRequest":true}}`, self),
		"hello/function.json": `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","route":"hello"},` +
			`{"type":"http","direction":"out","name":"res"}]}`,
	}
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// newApp writes an app with one function and keys of our own making into its
// store, as a person who moves an app would.
func newApp(dir string) (key string, err error) {
	if err := writeApp(dir); err != nil {
		return "", err
	}
	master, err := azfkey.Generate(azfkey.Master)
	if err != nil {
		return "", err
	}
	if key, err = azfkey.Generate(azfkey.Function); err != nil {
		return "", err
	}
	secrets := filepath.Join(dir, ".latchkey", "secrets")
	if err := os.MkdirAll(secrets, 0o700); err != nil {
		return "", err
	}
	text := fmt.Sprintf(`{"masterKey":{"name":"master","value":%q,"encrypted":false},`+
		`"functionKeys":[{"name":"default","value":%q,"encrypted":false}],"systemKeys":[]}`, master, key)
	return key, os.WriteFile(filepath.Join(secrets, "host.json"), []byte(text), 0o600)
}

// startLatchkey starts the binary on an app made by newApp and waits for the
// first served request.
func startLatchkey(ctx context.Context, binary, dir, key string, extra ...string) (*latchkey, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := append([]string{binary, "start", dir, "--port", strconv.Itoa(port), "--metrics-address", "", "--no-watch"}, extra...)
	p, err := spawn(ctx, "Latchkey, key checked", "127.0.0.1:"+strconv.Itoa(port), path, nil, args...)
	if err != nil {
		return nil, err
	}
	l := &latchkey{peer: p, key: key}
	return l, l.awaitServed(ctx)
}

func (l *latchkey) awaitServed(ctx context.Context) error {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		if status, _ := l.get(); status == http.StatusOK {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.New("never served: " + l.log.String())
}

func (l *latchkey) get() (int, error) {
	req, err := http.NewRequest(http.MethodGet, l.url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("x-functions-key", l.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}
