package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// inFlight is how many requests are under way at a time; connections are kept for
// as many.
const inFlight = 16

// maxPages bounds a listing, 5,000 blobs a page.
const maxPages = 200

// connection speaks with one container: the few calls a key store needs, tried
// again where that helps, their faults in the store's terms.
type connection struct {
	cfg     Config
	where   string // the container's URL, without a signature
	options *container.ClientOptions
	slots   chan struct{}

	mu      sync.Mutex
	client  *container.Client
	sas     string // what client was made of
	refused string // the last URL that could not take its place
}

// blob is a blob's content, or its absence.
type blob struct {
	data []byte
	etag azcore.ETag // "" if it does not exist
}

func (b blob) exists() bool { return b.etag != "" }

func connect(cfg Config) (*connection, error) {
	c := &connection{cfg: cfg, options: options(cfg.Transport), slots: make(chan struct{}, inFlight)}
	var err error
	switch {
	case cfg.SAS != nil:
		c.sas = cfg.SAS()
		var u *url.URL
		if u, err = checkSAS(c.sas); err != nil {
			return nil, err
		}
		c.where = bare(u)
		c.client, err = container.NewClientWithNoCredential(c.sas, c.options)
	case cfg.ConnectionString != "":
		c.client, err = connectString(cfg, c.options)
	default:
		c.client, err = container.NewClient(strings.TrimRight(cfg.ServiceURL, "/")+"/"+cfg.Container, cloudfault.Marked(cfg.Credential), c.options)
	}
	if err != nil {
		return nil, problem.New(problem.Invalid, "the key container's address cannot be used").
			WithNext("correct " + StorageSetting + " or " + SASSetting)
	}
	if u, err := url.Parse(c.client.URL()); err == nil {
		c.where = bare(u)
	}
	return c, nil
}

// connectString turns a bad connection string into an error without its text.
func connectString(cfg Config, options *container.ClientOptions) (*container.Client, error) {
	if err := checkConnectionString(cfg.ConnectionString); err != nil {
		return nil, err
	}
	return container.NewClientFromConnectionString(development(cfg.ConnectionString), cfg.Container, options)
}

// options leaves trying again to this package, which does so by its own clock,
// and follows no redirection: it would carry credentials elsewhere.
func options(transport http.RoundTripper) *container.ClientOptions {
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = inFlight
		transport = own
	}
	return &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: -1},
		Transport: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}}
}

// current gives the client to use now: with a shared access signature the one of
// the latest usable URL.
func (c *connection) current() *container.Client {
	if c.cfg.SAS == nil {
		return c.client
	}
	latest := c.cfg.SAS()
	c.mu.Lock()
	defer c.mu.Unlock()
	if latest == c.sas || latest == c.refused {
		return c.client
	}
	if err := c.renew(latest); err != nil {
		c.refused = latest
		c.cfg.Log.Warn("the new value of "+SASSetting+" is not used", slog.String("store", c.where), slog.String("error", err.Error()))
		return c.client
	}
	c.cfg.Log.Info("the new value of "+SASSetting+" is in use", slog.String("store", c.where))
	return c.client
}

func (c *connection) renew(sas string) error {
	u, err := checkSAS(sas)
	if err != nil {
		return err
	}
	if bare(u) != c.where {
		return problem.New(problem.Invalid, "it names another container, "+bare(u)).
			WithNext("to move to another key store, restart the app")
	}
	client, err := container.NewClientWithNoCredential(sas, c.options)
	if err != nil {
		return problem.New(problem.Invalid, "it cannot be used")
	}
	c.client, c.sas, c.refused = client, sas, ""
	return nil
}

// read gets a blob.
func (c *connection) read(ctx context.Context, name string) (blob, error) {
	var b blob
	_, err := c.try(ctx, func(ctx context.Context, client *container.Client) (err error) {
		b, err = download(ctx, client.NewBlobClient(name))
		return err
	})
	if c.absent(err) {
		return blob{}, nil
	}
	return b, c.fault(ctx, reading, name, err)
}

func download(ctx context.Context, client *azblob.Client) (blob, error) {
	got, err := client.DownloadStream(ctx, nil)
	if err != nil {
		return blob{}, err
	}
	defer func() { _ = got.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(got.Body, maxDocument+1))
	if err != nil {
		return blob{}, err
	}
	if len(data) > maxDocument {
		return blob{}, problem.New(keystore.ErrUndecryptable, fmt.Sprintf("the blob is larger than %d bytes", maxDocument))
	}
	if got.ETag == nil || *got.ETag == "" {
		return blob{}, errNoService
	}
	return blob{data: data, etag: *got.ETag}, nil
}

// errNoService is for answers that a storage account does not give.
var errNoService = errors.New("the answer is not that of a storage account")

// write puts a blob in the place of the state that old names, "" for none.
// It returns errRaced if that is not the state any more. unsure says that some
// try may have taken place though its answer was lost.
func (c *connection) write(ctx context.Context, name string, old azcore.ETag, data []byte) (etag azcore.ETag, unsure bool, err error) {
	etag, unsure, err = c.put(ctx, name, old, data)
	if !bloberror.HasCode(err, bloberror.ContainerNotFound) {
		return etag, unsure, c.fault(ctx, writing, name, err)
	}
	if old != "" {
		return "", unsure, errRaced
	}
	if c.cfg.SAS != nil {
		return "", unsure, c.fault(ctx, writing, name, err)
	}
	if err := c.create(ctx); err != nil {
		return "", unsure, err
	}
	etag, again, err := c.put(ctx, name, old, data)
	return etag, unsure || again, c.fault(ctx, writing, name, err)
}

func (c *connection) put(ctx context.Context, name string, old azcore.ETag, data []byte) (etag azcore.ETag, unsure bool, err error) {
	must := &azblob.ModifiedAccessConditions{IfMatch: &old}
	if old == "" {
		all := azcore.ETagAny
		must = &azblob.ModifiedAccessConditions{IfNoneMatch: &all}
	}
	unsure, err = c.try(ctx, func(ctx context.Context, client *container.Client) error {
		got, err := client.NewBlockBlobClient(name).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)),
			&blockblob.UploadOptions{AccessConditions: &azblob.AccessConditions{ModifiedAccessConditions: must}})
		if err == nil && (got.ETag == nil || *got.ETag == "") {
			return errNoService
		}
		if err == nil {
			etag = *got.ETag
		}
		return err
	})
	return etag, unsure, err
}

// create makes the container unless somebody else does.
func (c *connection) create(ctx context.Context) error {
	_, err := c.try(ctx, func(ctx context.Context, client *container.Client) error {
		_, err := client.Create(ctx, nil)
		return err
	})
	if bloberror.HasCode(err, bloberror.ContainerAlreadyExists) {
		return nil
	}
	return c.fault(ctx, creating, "", err)
}

// remove deletes a blob in a state, or in any with azcore.ETagAny; found is false if
// there was none. It returns errRaced if it is in another state.
func (c *connection) remove(ctx context.Context, name string, state azcore.ETag) (found bool, err error) {
	all := azblob.DeleteSnapshotsOptionTypeInclude
	how := &azblob.DeleteOptions{DeleteSnapshots: &all}
	if state != azcore.ETagAny { // which would turn an absent blob into a failed condition
		how.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfMatch: &state}}
	}
	unsure, err := c.try(ctx, func(ctx context.Context, client *container.Client) error {
		_, err := client.NewBlobClient(name).Delete(ctx, how)
		return err
	})
	if c.absent(err) {
		return unsure, nil // a try whose answer was lost may have been the one
	}
	return true, c.fault(ctx, deleting, name, err)
}

// list gives the blobs directly below a prefix, each with its state.
func (c *connection) list(ctx context.Context, prefix string) (map[string]azcore.ETag, error) {
	blobs, from := map[string]azcore.ETag{}, ""
	for range maxPages {
		var page container.ListBlobsHierarchyResponse
		_, err := c.try(ctx, func(ctx context.Context, client *container.Client) (err error) {
			// A pager that failed once fails ever after: each try has its own.
			o := &container.ListBlobsHierarchyOptions{Prefix: &prefix}
			if from != "" {
				o.Marker = &from
			}
			page, err = client.NewListBlobsHierarchyPager("/", o).NextPage(ctx)
			return err
		})
		if c.absent(err) {
			return nil, nil
		}
		if err == nil && page.Segment == nil {
			err = errNoService
		}
		if err != nil {
			return nil, c.fault(ctx, listing, prefix, err)
		}
		for _, item := range page.Segment.BlobItems {
			if item.Name != nil && item.Properties != nil && item.Properties.ETag != nil {
				blobs[*item.Name] = *item.Properties.ETag
			}
		}
		if page.NextMarker == nil || *page.NextMarker == "" {
			return blobs, nil
		}
		from = *page.NextMarker
	}
	return nil, problem.New(keystore.ErrUnavailable, c.where+" lists no end of blobs in "+prefix)
}
