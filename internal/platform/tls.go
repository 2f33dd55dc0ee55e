package platform

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// newTLS gives the management listener's certificates: the configured one for the
// names in it, and the authority's for the rest.
func (n *Node) newTLS() (*tls.Config, error) {
	config := n.ca.TLS()
	if n.cfg.CertFile == "" {
		return config, nil
	}
	own := &certificateFile{cert: n.cfg.CertFile, key: n.cfg.KeyFile}
	n.ownCert = own
	if _, err := own.get(); err != nil {
		return nil, problem.Wrap(problem.Invalid, "the management certificate cannot be used", err).
			WithNext("check management.certFile and management.keyFile")
	}
	byAuthority := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := own.get()
		if err == nil && hello.ServerName != "" && c.Leaf.VerifyHostname(hello.ServerName) == nil {
			return c, nil
		}
		return byAuthority(hello)
	}
	return config, nil
}

// certified reports whether the configured certificate is for a host.
func (n *Node) certified(host string) bool {
	if n.ownCert == nil {
		return false
	}
	c, err := n.ownCert.get()
	return err == nil && c.Leaf.VerifyHostname(host) == nil
}

// certificateFile is a certificate that is read again when its file changes. What
// cannot be read leaves the one before in use.
type certificateFile struct {
	cert, key string

	mu      sync.Mutex
	read    time.Time // modification time of what is in use
	current *tls.Certificate
}

func (f *certificateFile) get() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.cert)
	if err == nil && f.current != nil && info.ModTime().Equal(f.read) {
		return f.current, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(f.cert, f.key); err == nil {
			f.current, f.read = &pair, info.ModTime()
		}
	}
	if f.current != nil {
		return f.current, nil
	}
	return nil, err
}
